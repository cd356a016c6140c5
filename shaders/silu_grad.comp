#version 460
#extension GL_GOOGLE_include_directive : require
// The gradient of y = silu(gate) * up, where silu(z) = z s with s = 1 / (1 + e^-z):
//   dgate = dy up s (1 + gate (1 - s)),  dup = dy gate s
// and y itself again. A workgroup computes SPAN columns of a row, four an invocation
// at a time.
#include "storage.glsl"

layout(local_size_x_id = 0) in;
const uint WG = gl_WorkGroupSize.x;
const uint SPAN = WG > 64 ? WG * 4 : 256; // mirrored by engine/op_silu_grad.go

layout(push_constant) uniform Push {
    ACT gate_up;  // [rows, 2 width] gate, then up
    F32 dy;       // [rows, width]
    ACT d;        // as gate_up, and may be it
    ACT y;        // [rows, width]
    uint rows, width, blocks; // workgroups of a row
};

void main() {
    const uint job = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    const uint row = job / blocks, first = job % blocks * SPAN, last = min(first + SPAN, width);
    if (row >= rows) return;
    for (uint i = first + gl_LocalInvocationID.x * 4; i < last; i += WG * 4) {
        const uint at = 2 * row * width + i;
        vec4 gate = load_act(gate_up, at), up = load_act(gate_up, at + width), dyi = load_f32(dy, row * width + i);
        vec4 s = 1.0 / (1.0 + exp(-gate));
        store_act(d, at, dyi * up * s * (1.0 + gate * (1.0 - s)));
        store_act(d, at + width, dyi * gate * s);
        store_act(y, row * width + i, gate * s * up);
    }
}
