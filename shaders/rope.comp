#version 460
#extension GL_GOOGLE_include_directive : require
// Rotary embedding with cache append. Takes the rows of the q, k, v product;
// norms q and k by head where the model does (Qwen3), writes rotated q to its own
// buffer (others may still read the row for its norm), and rotated k, and v, into the paged cache in its own type. Rotation as in
// Su et al. 2021 in the half-split layout: (a, b) -> (a cos - b sin, b cos + a sin)
// with a in the first and b in the second half of the head.
//
// An invocation handles four pairs of one head of one row.
#include "storage.glsl"

layout(local_size_x_id = 0) in;

layout(push_constant) uniform Push {
    F32 qkv;         // [rows, (heads + 2 kv_heads) * dim]
    F32 q;           // [rows, heads * dim]
    F32 turns;       // [positions, dim]: cos in the first half, sin in the second
    Ints positions;  // [rows]
    Ints cells;      // [rows] of the cache: block * 16 + place in the block
    ACT keys;        // [blocks, kv_heads, 16, dim]
    ACT values;
    F32 q_norm;      // [dim] or null
    F32 k_norm;
    uint rows, heads, kv_heads, dim;
    float eps;
};

const uint BLOCK = 16;

float inverse_rms(uint at) {
    float s = 0;
    for (uint i = 0; i < dim; i += 4) {
        vec4 a = load_f32(qkv, at + i);
        s += dot(a, a);
    }
    return inversesqrt(s / float(dim) + eps);
}

void main() {
    uint per_head = dim / 8, row = gl_WorkGroupID.y;
    uint head = gl_GlobalInvocationID.x / per_head, i = gl_GlobalInvocationID.x % per_head * 4;
    uint all = heads + 2 * kv_heads;
    if (head >= all) return;
    uint at = (row * all + head) * dim;
    vec4 a = load_f32(qkv, at + i), b = load_f32(qkv, at + dim / 2 + i);
    uint cell = uint(cells.v[row]);
    uint cached = ((cell / BLOCK * kv_heads + (head - heads) % kv_heads) * BLOCK + cell % BLOCK) * dim;
    if (head >= heads + kv_heads) {
        store_act(values, cached + i, a);
        store_act(values, cached + dim / 2 + i, b);
        return;
    }
    if (!IS_NULL(q_norm)) {
        float r = inverse_rms(at);
        bool is_q = head < heads;
        a *= r * (is_q ? load_f32(q_norm, i) : load_f32(k_norm, i));
        b *= r * (is_q ? load_f32(q_norm, dim / 2 + i) : load_f32(k_norm, dim / 2 + i));
    }
    uint turn = uint(positions.v[row]) * dim;
    vec4 c = load_f32(turns, turn + i), s = load_f32(turns, turn + dim / 2 + i);
    vec4 ra = a * c - b * s, rb = b * c + a * s;
    if (head < heads) {
        uint to = (row * heads + head) * dim;
        store_f32(q, to + i, ra);
        store_f32(q, to + dim / 2 + i, rb);
        return;
    }
    store_act(keys, cached + i, ra);
    store_act(keys, cached + dim / 2 + i, rb);
}
