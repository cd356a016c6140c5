#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#ifdef SPLIT_HEAD
#extension GL_KHR_shader_subgroup_shuffle : require
#endif
// Attention's gradient by the rotated queries, and delta for grad_kv; see
// attention_grad.glsl. Shaped as attention_prefill: a workgroup takes WG / LANES
// queries of one head, all of which walk the same keys.
#include "storage.glsl"
#include "attention_grad.glsl"
#include "attention_grad_lanes.glsl"

vec4 query[HELD], weight[HELD], acc[HELD]; // q, dy, and dq / scale

// visit adds PER keys, n of which (and no later ones) are in the cache.
void visit(uint cell, uint key, uint n, uint mine, uint part, float stat, float own_delta) {
    vec4 s = vec4(0), g = vec4(0), ds; // by key
    [[unroll]] for (uint j = 0; j < PER; j++)
        [[unroll]] for (uint i = 0; i < HELD; i++) {
            uint at = cell + min(j, n - 1) * HEAD + (i * LANES + part) * 4;
            s[j] += dot(query[i], load_act(keys, at));
            g[j] += dot(weight[i], load_act(values, at));
        }
    s = across(s);
    g = across(g);
    [[unroll]] for (uint j = 0; j < PER; j++)
        ds[j] = sees(mine, key + j) ? exp(s[j] * scale - stat) * (g[j] - own_delta) : 0;
    [[unroll]] for (uint j = 0; j < PER; j++)
        [[unroll]] for (uint i = 0; i < HELD; i++)
            acc[i] += ds[j] * load_act(keys, cell + min(j, n - 1) * HEAD + (i * LANES + part) * 4);
}

void main() {
    const uint lane = gl_LocalInvocationID.x, part = lane % LANES;
    const uint queries = WG / LANES, per_tile = gl_WorkGroupID.z * queries;
    const uint t = gl_WorkGroupID.x * 4, head = gl_WorkGroupID.y, kv_head = head / (heads / kv_heads);
    const uint count = uint(tiles.v[t + 1]), table = uint(tiles.v[t + 3]);
    if (per_tile >= count) return;
    const uint mine = min(per_tile + lane / LANES, count - 1), row = uint(tiles.v[t]) + mine;
    const uint last = min(per_tile + queries, count) - 1;

    vec4 products = vec4(0); // of dy and y
    [[unroll]] for (uint i = 0; i < HELD; i++) {
        uint at = (row * heads + head) * HEAD + (i * LANES + part) * 4;
        query[i] = load_f32(q, at);
        weight[i] = load_f32(dy, at);
        products += weight[i] * load_act(y, at);
        acc[i] = vec4(0);
    }
    products = across(products);
    float own_delta = products.x + products.y + products.z + products.w, stat = stats.v[row * heads + head];
    uint key = window == 0 || per_tile + 1 < window ? 0 : (per_tile + 1 - window) & ~(PER - 1);
    do {
        visit(cell_of(table, key, kv_head), key, min(PER, last + 1 - key), mine, part, stat, own_delta);
        key += PER;
    } while (key <= last);
    if (per_tile + lane / LANES >= count) return;
    if (part == 0) delta.v[row * heads + head] = own_delta;
    [[unroll]] for (uint i = 0; i < HELD; i++)
        store_f32(d, grad_at(row, head) + (i * LANES + part) * 4, scale * acc[i]);
}
