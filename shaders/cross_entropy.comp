#version 460
#extension GL_GOOGLE_include_directive : require
// For each row of logits the log-probability of its target, and in place of the
// logits the gradient of its negative: softmax - onehot(target). A workgroup
// computes a row in two sweeps: the first keeps a running maximum and the sum of
// exponentials relative to it (Milakov and Gimelshein 2018).
#include "storage.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint QUADS = 1; // the vocabulary is a multiple of 4, so that rows start at one
const uint WG = gl_WorkGroupSize.x;
const uint STEP = QUADS == 1 ? 4 : 1;

layout(push_constant) uniform Push {
    uvec2 logits;   // [rows, vocab], replaced
    Ints targets;   // [rows]
    Floats logs;    // [rows]
    uint rows, vocab;
};

#include "reduce.glsl"

const float NONE = -3.4e38; // below every logit but -infinity

// load_logits takes STEP logits; those that are not there weigh nothing.
vec4 load_logits(uint i) { return QUADS == 1 ? load_f32(F32(logits), i) : vec4(Floats(logits).v[i], vec3(NONE)); }

void store_logits(uint i, vec4 x) {
    if (QUADS == 1) store_f32(F32(logits), i, x);
    else Floats(logits).v[i] = x.x;
}

float sum4(vec4 x) { return QUADS == 1 ? dot(x, vec4(1)) : x.x; }

void main() {
    const uint row = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x, lane = gl_LocalInvocationID.x;
    if (row >= rows) return; // all lanes or none
    const uint at = row * vocab, target = uint(targets.v[row]);
    const float wanted = Floats(logits).v[at + target];
    float top = NONE, sum = 0;
    for (uint i = lane * STEP; i < vocab; i += WG * STEP) {
        vec4 l = load_logits(at + i);
        float higher = max(max(top, max(l.x, l.y)), max(l.z, l.w));
        sum = sum * exp(top - higher) + sum4(exp(l - higher));
        top = higher;
    }
    memoryBarrierBuffer(); // every lane has read the target's logit before one replaces it
    const float most = max_of_lanes(top), total = sum_of_lanes(sum * exp(top - most)), inverse = 1.0 / total;
    for (uint i = lane * STEP; i < vocab; i += WG * STEP) {
        vec4 p = exp(load_logits(at + i) - most) * inverse;
        store_logits(at + i, p - vec4(equal(uvec4(i, i + 1, i + 2, i + 3), uvec4(target))));
    }
    // Relative to the maximum first: their difference is exact where both are large.
    if (lane == 0) logs.v[row] = wanted - most - log(total);
}
