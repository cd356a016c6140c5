#version 460
#extension GL_GOOGLE_include_directive : require
#ifdef SPLIT_HEAD
#extension GL_KHR_shader_subgroup_shuffle : require
#endif
// Causal attention of a run of queries of one sequence over the paged cache,
// with an online softmax (Milakov and Gimelshein 2018; Dao et al. 2022): memory
// linear in length. Keys and values of the run are in the cache already, so the
// same kernel serves a whole prompt, a chunk of one, and a suffix.
//
// A workgroup takes WG / LANES queries of one head; all of them walk the same
// keys. LANES invocations share a query, each holding every LANES-th vec4 of the
// head (SPLIT_HEAD: their dot products are summed by subgroup shuffles).
#include "storage.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint HEAD = 32;
layout(constant_id = 2) const uint LANES = 1;
layout(constant_id = 3) const uint STATS = 0; // 1: the softmax's denominators are wanted
const uint WG = gl_WorkGroupSize.x, BLOCK = 16, HELD = HEAD / 4 / LANES;
const float MASKED = -1e30;

layout(push_constant) uniform Push {
    F32 q;          // [rows, heads * HEAD], rotated
    ACT keys;       // [blocks, kv_heads, 16, HEAD]
    ACT values;
    ACT y;          // [rows, heads * HEAD]
    Ints tiles;     // [.] of (first row, queries, position of the first, start in tables)
    Ints tables;    // block tables
    Floats stats;   // [rows, heads]: log of the sum of exp(score); null without STATS
    uint heads, kv_heads;
    float scale;    // 1 / sqrt(HEAD)
    uint window;    // keys a query sees, itself included; 0: all before it
};

vec4 query[HELD], acc[HELD];
float top = MASKED, sum = 0;

float across(float s) {
#ifdef SPLIT_HEAD
    for (uint d = 1; d < LANES; d *= 2) s += subgroupShuffleXor(s, d);
#endif
    return s;
}

// visit adds four keys, n of which (and no later ones) are in the cache.
void visit(uint cell, uint key, uint n, uint position, uint part) {
    vec4 s;
    for (uint j = 0; j < 4; j++) {
        float d = 0;
        for (uint i = 0; i < HELD; i++)
            d += dot(query[i], load_act(keys, cell + min(j, n - 1) * HEAD + (i * LANES + part) * 4));
        bool seen = key + j <= position && (window == 0 || key + j + window > position);
        d = across(d);
        s[j] = seen ? d * scale : MASKED;
    }
    float above = max(max(max(s.x, s.y), max(s.z, s.w)), top);
    float shrunk = exp(top - above);
    vec4 p = exp(s - above);
    top = above;
    sum = sum * shrunk + p.x + p.y + p.z + p.w;
    for (uint i = 0; i < HELD; i++) acc[i] *= shrunk;
    for (uint j = 0; j < 4; j++)
        for (uint i = 0; i < HELD; i++)
            acc[i] += p[j] * load_act(values, cell + min(j, n - 1) * HEAD + (i * LANES + part) * 4);
}

void main() {
    const uint lane = gl_LocalInvocationID.x, part = lane % LANES;
    const uint queries = WG / LANES, per_tile = gl_WorkGroupID.z * queries;
    const uint t = gl_WorkGroupID.x * 4, head = gl_WorkGroupID.y, kv_head = head / (heads / kv_heads);
    const uint count = uint(tiles.v[t + 1]), table = uint(tiles.v[t + 3]);
    if (per_tile >= count) return;
    const uint mine = per_tile + lane / LANES, index = min(mine, count - 1);
    const uint row = uint(tiles.v[t]) + index, position = uint(tiles.v[t + 2]) + index;
    const uint first = uint(tiles.v[t + 2]) + per_tile;
    const uint last = uint(tiles.v[t + 2]) + min(per_tile + queries, count) - 1;

    for (uint i = 0; i < HELD; i++) {
        query[i] = load_f32(q, (row * heads + head) * HEAD + (i * LANES + part) * 4);
        acc[i] = vec4(0);
    }
    uint from = window == 0 || first + 1 < window ? 0 : (first + 1 - window) & ~3u;
    for (uint key = from; key <= last; key += 4) {
        uint block = uint(tables.v[table + key / BLOCK]);
        uint cell = ((block * kv_heads + kv_head) * BLOCK + key % BLOCK) * HEAD;
        visit(cell, key, min(4, last + 1 - key), position, part);
    }
    if (mine >= count) return;
    if (STATS == 1 && part == 0) stats.v[row * heads + head] = top + log(sum);
    for (uint i = 0; i < HELD; i++)
        store_act(y, (row * heads + head) * HEAD + (i * LANES + part) * 4, acc[i] / sum);
}
