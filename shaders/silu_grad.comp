#version 460
#extension GL_GOOGLE_include_directive : require
// Backward of y = silu(gate) * up: with s = 1 / (1 + exp(-gate)),
//   dgate = dy * up * s * (1 + gate * (1 - s))        dup = dy * gate * s
// An invocation handles four columns of a row.
#include "storage.glsl"

layout(local_size_x_id = 0) in;

layout(push_constant) uniform Push {
    F32 gate_up;  // [rows, 2 * n]: gate and up side by side
    F32 dy;       // [rows, n]
    F32 d;        // [rows, 2 * n]; may be gate_up
    uint rows, n;
};

void main() {
    const uint i = gl_GlobalInvocationID.x * 4, row = gl_WorkGroupID.y;
    if (i >= n) return;
    const uint at = row * 2 * n + i;
    const vec4 gate = load_f32(gate_up, at), up = load_f32(gate_up, at + n), y = load_f32(dy, row * n + i);
    const vec4 s = 1.0 / (1.0 + exp(-gate));
    store_f32(d, at, y * up * s * (1.0 + gate * (1.0 - s)));
    store_f32(d, at + n, y * gate * s);
}
