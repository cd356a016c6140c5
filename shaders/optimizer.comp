#version 460
#extension GL_GOOGLE_include_directive : require
// Optimizer steps of several adapters at once: AdamW (Loshchilov and Hutter
// 2019) or SGD with decoupled weight decay, after clipping by the global norm, in
// PyTorch's order of operations. The gradient is cleared. Where its norm is not
// finite nothing else changes.
//
// An invocation handles four numbers.
#include "storage.glsl"
#include "optimizer.glsl"

layout(local_size_x_id = 0) in;
const uint WG = gl_WorkGroupSize.x, SGD = 1;

layout(push_constant) uniform Push {
    Updates updates;
    Floats norms;  // [updates]
};

float norm_of(Floats partials) {
    float sum = 0;
    for (uint i = 0; i < PARTS; i++) sum += partials.v[i];
    return sqrt(sum);
}

// step_of is how far the weights move, before weight decay.
vec4 step_of(Update u, uint i, vec4 g) {
    if (u.kind == SGD) return u.rate * g;
    const vec4 m = u.beta1 * load_f32(u.mean, i) + (1.0 - u.beta1) * g;
    const vec4 v = u.beta2 * load_f32(u.variance, i) + (1.0 - u.beta2) * g * g;
    store_f32(u.mean, i, m);
    store_f32(u.variance, i, v);
    return u.rate / u.correction1 * m / (sqrt(v) / u.correction2 + u.eps);
}

void main() {
    Update u = updates.v[gl_WorkGroupID.y];
    const float norm = norm_of(u.partials);
    if (gl_GlobalInvocationID.x == 0) norms.v[gl_WorkGroupID.y] = norm;
    const uint i = gl_GlobalInvocationID.x * 4;
    if (i >= u.count) return;
    const vec4 gradient = load_f32(u.gradient, i);
    store_f32(u.gradient, i, vec4(0));
    // All bits of an infinite or absent number's exponent are set: compilers
    // may take comparisons for granted, not bits.
    if ((floatBitsToUint(norm) & 0x7f800000u) == 0x7f800000u) return;
    const float scale = u.clip > 0 ? min(1.0, u.clip / (norm + 1e-6)) : 1.0;
    const vec4 w = load_f32(u.weights, i) * (1.0 - u.rate * u.decay) - step_of(u, i, gradient / u.divisor * scale);
    store_f32(u.weights, i, w);
    if (!IS_NULL(u.copy)) store_act(ACT(u.copy), i, w);
}
