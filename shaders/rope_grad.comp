#version 460
#extension GL_GOOGLE_include_directive : require
// The backward of rope: from the gradients of rotated q, rotated k and v to that
// of the q, k, v product. A rotation's transpose is its inverse: (a, b) -> (a cos +
// b sin, b cos - a sin). Where q and k were normed by head, y = x r g with r =
// 1 / sqrt(mean(x^2) + eps), the norm's backward follows, from the product's saved rows:
//
//   dx_j = r g_j dy_j - x_j r^3 / HEAD * sum_i g_i dy_i x_i
//
// An invocation handles four pairs of one head of one row.
#include "storage.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint HEAD = 32;
layout(constant_id = 2) const uint NORMS = 0; // 1: q and k were normed by head
layout(constant_id = 3) const uint SHARES = 1; // partial sums of a gradient of k or v
const uint WG = gl_WorkGroupSize.x, PER_HEAD = HEAD / 8, HALF = HEAD / 2;

layout(push_constant) uniform Push {
    F32 qkv;         // [rows, (heads + 2 kv_heads) * HEAD]; null without NORMS
    F32 d;           // [rows, (heads + 2 SHARES kv_heads) * HEAD]: q, shares of k, shares of v
    ACT dqkv;        // [rows, (heads + 2 kv_heads) * HEAD]: the result
    F32 turns;       // [positions, HEAD]: cos in the first half, sin in the second
    Ints positions;  // [rows]
    F32 q_norm;      // [HEAD]
    F32 k_norm;
    uint heads, kv_heads;
    float eps;
};

// Pairs are four pairs: a from the first half of the head, b from the second.
struct Pairs { vec4 a, b; };

Pairs pairs_of(F32 x, uint at, uint i) { return Pairs(load_f32(x, at + i), load_f32(x, at + HALF + i)); }

// whole is the gradient of a head of a row: of k and v the sum of their shares.
Pairs whole(uint row, uint head, uint i) {
    uint from = head < heads + kv_heads ? head : head + (SHARES - 1) * kv_heads;
    uint at = (row * (heads + 2 * SHARES * kv_heads) + from) * HEAD;
    Pairs g = pairs_of(d, at, i);
    if (SHARES > 1 && head >= heads)
        for (uint share = 1; share < SHARES; share++) {
            Pairs more = pairs_of(d, at + share * kv_heads * HEAD, i);
            g = Pairs(g.a + more.a, g.b + more.b);
        }
    return g;
}

Pairs turned_back(uint row, uint head, uint turn, uint i) {
    Pairs g = whole(row, head, i), by = pairs_of(turns, turn, i);
    return Pairs(g.a * by.a + g.b * by.b, g.b * by.a - g.a * by.b);
}

Pairs gains(uint head, uint i) {
    Pairs of_q = pairs_of(q_norm, 0, i), of_k = pairs_of(k_norm, 0, i);
    return head < heads ? of_q : of_k;
}

// norm_grad takes the gradient behind the norm to the one before it.
Pairs norm_grad(Pairs dy, uint row, uint head, uint at, uint turn, uint i) {
    float squares = 0, shared_part = 0;
    for (uint n = 0; n < HALF; n += 4) {
        Pairs x = pairs_of(qkv, at, n), g = gains(head, n), e = turned_back(row, head, turn, n);
        squares += dot(x.a, x.a) + dot(x.b, x.b);
        shared_part += dot(g.a * e.a, x.a) + dot(g.b * e.b, x.b);
    }
    float r = inversesqrt(squares / float(HEAD) + eps), along = r * r * r / float(HEAD) * shared_part;
    Pairs x = pairs_of(qkv, at, i), g = gains(head, i);
    return Pairs(r * g.a * dy.a - along * x.a, r * g.b * dy.b - along * x.b);
}

void main() {
    uint row = gl_WorkGroupID.y, all = heads + 2 * kv_heads;
    uint head = gl_GlobalInvocationID.x / PER_HEAD, i = gl_GlobalInvocationID.x % PER_HEAD * 4;
    // Where no workgroup reaches into a second head, say so: what its lanes
    // load for a head's sums is then one load for all of them.
    if (PER_HEAD % WG == 0) head = gl_WorkGroupID.x / (PER_HEAD / WG);
    if (head >= all) return;
    uint at = (row * all + head) * HEAD, turn = uint(positions.v[row]) * HEAD;
    Pairs g = turned_back(row, head, turn, i);
    if (head >= heads + kv_heads) g = whole(row, head, i);
    else if (NORMS == 1) g = norm_grad(g, row, head, at, turn, i);
    store_act(dqkv, at + i, g.a);
    store_act(dqkv, at + HALF + i, g.b);
}
