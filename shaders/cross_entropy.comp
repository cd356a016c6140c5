#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// For each row of logits the log-probability of its target, and the gradient of
// its negative with respect to the logits: softmax - onehot(target). A workgroup
// computes a row in two sweeps: the first keeps a running maximum and the sum of
// exponentials relative to it (Milakov and Gimelshein 2018).
#include "storage.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint QUADS = 1; // the vocabulary is a multiple of 4, so that rows start at one
layout(constant_id = 2) const uint AHEAD = 1; // times four logits that a lane loads before it uses the first
const uint WG = gl_WorkGroupSize.x;

layout(push_constant) uniform Push {
    uvec2 logits;   // [rows, vocab] float32
    ACT d;          // [rows, vocab rounded up to a multiple of 4]
    Ints targets;   // [rows]
    Floats logs;    // [rows]
    uint rows, vocab;
};

#include "reduce.glsl"

const float NONE = -3.4e38; // below every logit but -infinity

// load_logits takes four logits of a row; those that are not there weigh nothing.
vec4 load_logits(uint at, uint i) {
    if (QUADS == 1) return i < vocab ? load_f32(F32(logits), at + i) : vec4(NONE);
    vec4 l = vec4(NONE);
    for (uint j = 0; j < 4; j++)
        if (i + j < vocab) l[j] = Floats(logits).v[at + i + j];
    return l;
}

float top_of(vec4 l) { return max(max(l.x, l.y), max(l.z, l.w)); }

void main() {
    const uint row = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x, lane = gl_LocalInvocationID.x;
    if (row >= rows) return; // all lanes or none
    const uint at = row * vocab, to = row * ((vocab + 3) / 4 * 4), target = uint(targets.v[row]);
    const float wanted = Floats(logits).v[at + target];
    float top = NONE, sum = 0;
    vec4 l[AHEAD];
    [[dont_unroll]] for (uint i = lane * 4; i < vocab; i += WG * 4 * AHEAD) {
        for (uint n = 0; n < AHEAD; n++) l[n] = load_logits(at, i + n * WG * 4);
        float higher = top;
        for (uint n = 0; n < AHEAD; n++) higher = max(higher, top_of(l[n]));
        sum *= exp(top - higher);
        for (uint n = 0; n < AHEAD; n++) sum += dot(exp(l[n] - higher), vec4(1));
        top = higher;
    }
    const float most = max_of_lanes(top), total = sum_of_lanes(sum * exp(top - most)), inverse = 1.0 / total;
    [[dont_unroll]] for (uint i = lane * 4; i < vocab; i += WG * 4 * AHEAD) {
        for (uint n = 0; n < AHEAD; n++) l[n] = load_logits(at, i + n * WG * 4);
        for (uint n = 0; n < AHEAD; n++) {
            const uint j = i + n * WG * 4;
            const vec4 p = exp(l[n] - most) * inverse;
            if (j < vocab) store_act(d, to + j, p - vec4(equal(uvec4(j, j + 1, j + 2, j + 3), uvec4(target))));
        }
    }
    // Relative to the maximum first: their difference is exact where both are large.
    if (lane == 0) logs.v[row] = wanted - most - log(total);
}
