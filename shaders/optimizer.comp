#version 460
#extension GL_GOOGLE_include_directive : require
// One optimizer step of several adapters: AdamW (Loshchilov and Hutter 2019) or
// SGD with decoupled weight decay, by the mean gradient, clipped to a global
// norm (Pascanu et al. 2013), which grad_norm left in parts. The gradients are
// cleared. Where the norm is not finite nothing else changes.
#include "storage.glsl"
#include "update.glsl"

layout(local_size_x_id = 0) in;
const uint WG = gl_WorkGroupSize.x;

layout(push_constant) uniform Push {
    Updates updates; // [gl_NumWorkGroups.y]
    Floats norms;    // [gl_NumWorkGroups.y]
};

// By the bits: drivers may take for granted that numbers are finite.
bool is_finite(float x) { return (floatBitsToUint(x) & 0x7f800000u) != 0x7f800000u; }

float norm_of(Update u) {
    float s = 0;
    for (uint i = 0; i < PARTS; i++) s += u.partials.v[i];
    return sqrt(s);
}

// adam moves the moments by the gradient and returns the way to go.
vec4 adam(Update u, uint i, vec4 g) {
    vec4 m = u.beta1 * load_f32(u.mean, i) + u.rest1 * g;
    vec4 v = u.beta2 * load_f32(u.variance, i) + u.rest2 * g * g;
    store_f32(u.mean, i, m);
    store_f32(u.variance, i, v);
    return m / (sqrt(v) / u.correction + u.eps);
}

void main() {
    Update u = updates.v[gl_WorkGroupID.y];
    const uvec2 share = share_of(u.count);
    const float norm = norm_of(u);
    const bool finite = is_finite(norm);
    const float factor = u.clip > 0 ? min(1.0, u.clip / (norm + 1e-6)) : 1.0;
    for (uint i = share.x + gl_LocalInvocationID.x * 4; i < share.y; i += WG * 4) {
        if (finite) {
            vec4 g = load_f32(u.gradient, i) / u.divisor * factor, w = load_f32(u.weights, i);
            w -= u.decay * w;
            w -= u.rate * (u.kind == SGD ? g : adam(u, i, g));
            store_f32(u.weights, i, w);
            if (!IS_NULL(u.copy)) store_act(ACT(u.copy), i, w);
        }
        store_f32(u.gradient, i, vec4(0));
    }
    if (gl_WorkGroupID.x == 0 && gl_LocalInvocationID.x == 0) norms.v[gl_WorkGroupID.y] = norm;
}
