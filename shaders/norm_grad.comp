#version 460
#extension GL_GOOGLE_include_directive : require
// Backward of RMSNorm y = x * r * g with r = 1 / sqrt(mean(x^2) + eps), added
// to the gradient of x:
//   dx += r * g * dy - x * r^3 / k * sum(g * dy * x)
// One workgroup for each row of dy.
#include "storage.glsl"

layout(local_size_x_id = 0) in;
const uint WG = gl_WorkGroupSize.x;

layout(push_constant) uniform Push {
    F32 x;      // [., k]
    F32 g;      // [k]
    F32 dy;     // [rows, k]
    F32 dx;     // [., k]
    Ints list;  // [rows] which row of x and dx belongs to each row of dy; null: its own
    uint rows, k;
    float eps;
};

#include "reduce.glsl"

void main() {
    const uint row = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (row >= rows) return;
    const uint at = (IS_NULL(list) ? row : uint(list.v[row])) * k;
    // A small workgroup's lanes each sum all of the row: barriers cost more.
    const uint first = WG <= SMALL ? 0 : gl_LocalInvocationID.x * 4, step = WG <= SMALL ? 4 : WG * 4;
    float squares = 0, along = 0;
    for (uint i = first; i < k; i += step) {
        const vec4 a = load_f32(x, at + i);
        squares += dot(a, a);
        along += dot(a, load_f32(g, i) * load_f32(dy, row * k + i));
    }
    if (WG > SMALL) {
        squares = sum_of_lanes(squares);
        along = sum_of_lanes(along);
    }
    const float r = inversesqrt(squares / float(k) + eps), s = along * r * r * r / float(k);
    for (uint i = gl_LocalInvocationID.x * 4; i < k; i += WG * 4)
        store_f32(dx, at + i, load_f32(dx, at + i) + r * load_f32(g, i) * load_f32(dy, row * k + i) - s * load_f32(x, at + i));
}
