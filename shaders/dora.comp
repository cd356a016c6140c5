#version 460
#extension GL_GOOGLE_include_directive : require
// DoRA's gain (Liu et al. 2024): gain[n] = magnitude[n] / |W[n] + scale * B[n] . A|,
// once when an adapter is attached. A workgroup computes one output.
#include "storage.glsl"

layout(local_size_x_id = 0) in;
const uint WG = gl_WorkGroupSize.x;

layout(push_constant) uniform Push {
    WEIGHT w;          // [n, k]
    ACT a;             // [rank, k]
    ACT b;             // [n, rank]
    Floats magnitude;  // [n]
    Floats gain;       // [n]
    uint n, k, rank;
    float scale;
};

#include "reduce.glsl"

void main() {
    const uint lane = gl_LocalInvocationID.x;
    const uint row = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (row >= n) return;
    float sum = 0;
    for (uint i = lane * 4; i < k; i += WG * 4) {
        vec4 low = vec4(0);
        for (uint r = 0; r < rank; r += 4) {
            vec4 br = load_act(b, row * rank + r);
            for (uint j = 0; j < 4; j++) low += br[j] * load_act(a, (r + j) * k + i);
        }
        vec4 whole = load_weight(w, row * k + i) + scale * low;
        sum += dot(whole, whole);
    }
    sum = sum_of_lanes(sum);
    if (lane == 0) gain.v[row] = magnitude.v[row] / sqrt(sum);
}
