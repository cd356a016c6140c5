#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#ifdef SPLIT_HEAD
#extension GL_KHR_shader_subgroup_shuffle : require
#endif
// Attention's gradient by the rotated keys and by the values; see
// attention_grad.glsl. A workgroup takes WG / LANES keys of one key head, all of
// which walk the same queries of every query head that shares them, so that no
// two workgroups add to the same gradient.
#include "storage.glsl"
#include "attention_grad.glsl"
#include "attention_grad_lanes.glsl"

vec4 key[HELD], value[HELD], dkey[HELD], dvalue[HELD]; // dkey without the scale

// visit adds PER queries of a head, n of which (and no later ones) are of the sequence.
void visit(uint row, uint head, uint query, uint n, uint mine, uint part) {
    uint at[PER];
    [[unroll]] for (uint j = 0; j < PER; j++) at[j] = (row + min(j, n - 1)) * heads + head;
    vec4 s = vec4(0), g = vec4(0), p, ds; // by query
    [[unroll]] for (uint j = 0; j < PER; j++)
        [[unroll]] for (uint i = 0; i < HELD; i++) {
            s[j] += dot(key[i], load_f32(q, at[j] * HEAD + (i * LANES + part) * 4));
            g[j] += dot(value[i], load_f32(dy, at[j] * HEAD + (i * LANES + part) * 4));
        }
    s = across(s);
    g = across(g);
    [[unroll]] for (uint j = 0; j < PER; j++) {
        p[j] = j < n && sees(query + j, mine) ? exp(s[j] * scale - stats.v[at[j]]) : 0;
        ds[j] = p[j] * (g[j] - delta.v[at[j]]);
    }
    [[unroll]] for (uint j = 0; j < PER; j++)
        [[unroll]] for (uint i = 0; i < HELD; i++) {
            dkey[i] += ds[j] * load_f32(q, at[j] * HEAD + (i * LANES + part) * 4);
            dvalue[i] += p[j] * load_f32(dy, at[j] * HEAD + (i * LANES + part) * 4);
        }
}

void main() {
    const uint lane = gl_LocalInvocationID.x, part = lane % LANES;
    const uint own = WG / LANES, first = gl_WorkGroupID.z * own;
    const uint t = gl_WorkGroupID.x * 4, kv_head = gl_WorkGroupID.y, group = heads / kv_heads;
    const uint row = uint(tiles.v[t]), count = uint(tiles.v[t + 1]), table = uint(tiles.v[t + 3]);
    if (first >= count) return;
    const uint mine = min(first + lane / LANES, count - 1), cell = cell_of(table, mine, kv_head);
    // One behind the last query that sees one of the keys.
    const uint end = window == 0 ? count : min(count, first + own - 1 + window);

    [[unroll]] for (uint i = 0; i < HELD; i++) {
        key[i] = load_act(keys, cell + (i * LANES + part) * 4);
        value[i] = load_act(values, cell + (i * LANES + part) * 4);
        dkey[i] = dvalue[i] = vec4(0);
    }
    uint head = kv_head * group;
    [[dont_unroll]] do {
        uint query = first;
        [[dont_unroll]] do {
            visit(row + query, head, query, min(PER, end - query), mine, part);
            query += PER;
        } while (query < end);
        head++;
    } while (head < (kv_head + 1) * group);
    if (first + lane / LANES >= count) return;
    [[unroll]] for (uint i = 0; i < HELD; i++) {
        store_f32(d, grad_at(row + mine, heads + kv_head) + (i * LANES + part) * 4, scale * dkey[i]);
        store_f32(d, grad_at(row + mine, heads + kv_heads + kv_head) + (i * LANES + part) * 4, dvalue[i]);
    }
}
