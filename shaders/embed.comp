#version 460
#extension GL_GOOGLE_include_directive : require
// X[t] = W[token[t]]: the residual stream's first rows. An invocation copies four numbers.
// A negative token ~i is the one that the step before left in picks[i].
#include "storage.glsl"

layout(local_size_x_id = 0) in;

layout(push_constant) uniform Push {
    WEIGHT w;      // [vocab, n]
    Ints tokens;   // [rows]
    Ints picks;    // of any length; read where a token is negative
    F32 x;         // [rows, n]
    uint rows, n, vocab;
};

// token_of row. Picks are whatever the device has written: -1 where the logits
// were no numbers.
uint token_of(uint row) {
    int token = tokens.v[row];
    return token < 0 ? min(uint(picks.v[~token]), vocab - 1) : uint(token);
}

void main() {
    uint row = gl_WorkGroupID.y, i = gl_GlobalInvocationID.x * 4;
    if (i >= n) return;
    store_f32(x, row * n + i, load_weight(w, token_of(row) * n + i));
}
