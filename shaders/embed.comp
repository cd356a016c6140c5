#version 460
#extension GL_GOOGLE_include_directive : require
// X[t] = W[token[t]]: the residual stream's first rows. An invocation copies four numbers.
#include "storage.glsl"

layout(local_size_x_id = 0) in;

layout(push_constant) uniform Push {
    WEIGHT w;      // [vocab, n]
    Ints tokens;   // [rows]
    F32 x;         // [rows, n]
    uint rows, n;
};

void main() {
    uint row = gl_WorkGroupID.y, i = gl_GlobalInvocationID.x * 4;
    if (i >= n) return;
    store_f32(x, row * n + i, load_weight(w, uint(tokens.v[row]) * n + i));
}
