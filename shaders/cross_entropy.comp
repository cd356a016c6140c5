#version 460
#extension GL_GOOGLE_include_directive : require
// Cross-entropy of rows of logits with their targets: the target's
// log-probability, and in place of the logits the gradient of its negative,
//   softmax(logits) - onehot(target)
// One workgroup for each row.
#include "storage.glsl"

layout(local_size_x_id = 0) in;
const uint WG = gl_WorkGroupSize.x;

layout(push_constant) uniform Push {
    Floats logits;  // [rows, vocab]
    Ints targets;   // [rows]
    Floats logs;    // [rows]
    uint rows, vocab;
};

#include "reduce.glsl"

void main() {
    const uint row = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x, lane = gl_LocalInvocationID.x;
    if (row >= rows) return;
    const uint at = row * vocab, target = uint(targets.v[row]);
    float top = logits.v[at + min(lane, vocab - 1)];
    for (uint i = lane; i < vocab; i += WG) top = max(top, logits.v[at + i]);
    top = max_of_lanes(top);
    float sum = 0;
    for (uint i = lane; i < vocab; i += WG) sum += exp(logits.v[at + i] - top);
    sum = sum_of_lanes(sum);
    if (lane == 0) logs.v[row] = logits.v[at + target] - top - log(sum);
    barrier(); // the target's logit has been read
    for (uint i = lane; i < vocab; i += WG)
        logits.v[at + i] = exp(logits.v[at + i] - top) / sum - (i == target ? 1.0 : 0.0);
}
