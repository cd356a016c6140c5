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
    Ints list;  // [rows] the row of x and dx behind each row of dy; null: its own
    uint rows, width;
    float eps;
};

#include "reduce.glsl"

// sums are those of x^2 and of g dy x over a row, from `first` on in steps.
vec2 sums(uint at, uint from, uint first, uint step) {
    vec2 s = vec2(0);
    for (uint i = first; i < width; i += step) {
        vec4 a = load_f32(x, at + i);
        s += vec2(dot(a, a), dot(load_f32(g, i) * load_f32(dy, from + i), a));
    }
    return s;
}

// row_sums are the whole row's, in every lane. A small workgroup's lanes each
// sum all of it: see row_rms in norm.comp.
vec2 row_sums(uint at, uint from) {
    if (WG <= SMALL) return sums(at, from, 0, 4);
    vec2 mine = sums(at, from, gl_LocalInvocationID.x * 4, WG * 4);
    return vec2(sum_of_lanes(mine.x), sum_of_lanes(mine.y));
}

void main() {
    const uint row = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (row >= rows) return; // all lanes or none
    const uint at = (IS_NULL(list) ? row : uint(list.v[row])) * width, from = row * width;
    const vec2 s = row_sums(at, from);
    const float r = inversesqrt(s.x / float(width) + eps), pull = r * r * s.y / float(width);
    for (uint i = gl_LocalInvocationID.x * 4; i < width; i += WG * 4) {
        vec4 d = load_f32(g, i) * load_f32(dy, from + i) - load_f32(x, at + i) * pull;
        store_f32(dx, at + i, load_f32(dx, at + i) + r * d);
    }
}
