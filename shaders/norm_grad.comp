#version 460
#extension GL_GOOGLE_include_directive : require
// The gradient of RMSNorm, y = x r g with r = 1 / sqrt(mean(x^2) + eps), added to dX:
//   dx_j += r (g_j dy_j - x_j r^2 / width * sum_i g_i dy_i x_i)
// A workgroup computes a row.
#include "storage.glsl"

layout(local_size_x_id = 0) in;
const uint WG = gl_WorkGroupSize.x;

layout(push_constant) uniform Push {
    F32 x;      // [., width]
    F32 g;      // [width]
    F32 dy;     // [rows, width]
    F32 dx;     // [., width]
    ACT copy;   // [., width] dx again, as the products take it; null: none
    Ints list;  // [rows] the row of x and dx behind each row of dy; null: its own
    uint rows, width;
    float eps;
};

#include "reduce.glsl"

// row_sums are those of x^2 and of g dy x over a row, in every lane. Unlike in
// norm.comp lanes share the work even of a software device: three loads an
// element cost more than the barriers.
vec2 row_sums(uint at, uint from) {
    vec2 s = vec2(0);
    for (uint i = gl_LocalInvocationID.x * 4; i < width; i += WG * 4) {
        vec4 a = load_f32(x, at + i);
        s += vec2(dot(a, a), dot(load_f32(g, i) * load_f32(dy, from + i), a));
    }
    return vec2(sum_of_lanes(s.x), sum_of_lanes(s.y));
}

void main() {
    const uint row = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (row >= rows) return; // all lanes or none
    const uint at = listed(list, row, uvec2(x)) * width, from = row * width;
    const vec2 s = row_sums(at, from);
    const float r = inversesqrt(s.x / float(width) + eps), pull = r * r * s.y / float(width);
    for (uint i = gl_LocalInvocationID.x * 4; i < width; i += WG * 4) {
        vec4 d = load_f32(g, i) * load_f32(dy, from + i) - load_f32(x, at + i) * pull;
        const vec4 sum = load_f32(dx, at + i) + r * d;
        store_f32(dx, at + i, sum);
        if (!IS_NULL(copy)) store_act(copy, at + i, sum);
    }
}
