#version 460
#extension GL_GOOGLE_include_directive : require
// attention_grad_q over cooperative matrices; see attention_grad_matrix.glsl.
// Rows are queries of HEADS heads that share a key head, columns their keys.
#include "storage.glsl"
#include "attention_grad.glsl"
#include "attention_grad_matrix.glsl"

const uint PER_HEAD = ROWS / HEADS, SHARE = LANES / T; // queries of a head of a workgroup; lanes of a row
const uint OWN = ROWS * STRIDE, WALK = STAGES * PAIR;
shared uvec4 staged[OWN > WALK ? OWN : WALK]; // queries and their gradients by turns, then keys and values
shared float row_stats[ROWS], row_deltas[ROWS];

LEFT query[DEPTH], weight[DEPTH]; // q and dy
SUM acc[DEPTH], stat, own_delta;  // dq / scale; by row
#include "attention_keys.glsl"

bool counts(uint row, uint column, uint end) { return sees(row, column); }

// visit adds T keys that are staged at k, their values at v.
void visit(uint k, uint v, bool edge, uint mine, uint key) {
    SUM s = SUM(0), g = SUM(0);
    RIGHT f;
    [[unroll]] for (uint n = 0; n < DEPTH; n++) {
        coopMatLoad(f, staged, k + n * (T / 8), STRIDE, COLUMNS_FIRST);
        s = coopMatMulAdd(query[n], f, s);
        coopMatLoad(f, staged, v + n * (T / 8), STRIDE, COLUMNS_FIRST);
        g = coopMatMulAdd(weight[n], f, g);
    }
    [[unroll]] for (uint e = 0; e < s.length(); e++) s[e] = exp2(fma(s[e], scale * LOG2E, -stat[e])) * (g[e] - own_delta[e]);
    LEFT ds = left(s, edge, mine, key, 0);
    [[unroll]] for (uint n = 0; n < DEPTH; n++) {
        coopMatLoad(f, staged, k + n * (T / 8), STRIDE, ROWS_FIRST);
        acc[n] = coopMatMulAdd(ds, f, acc[n]);
    }
}

// row_at is where a head of a query of the workgroup begins in q, y and dy.
uint row_at(uint row, uint unit, uint index) {
    return ((row + index) * heads + gl_WorkGroupID.y * HEADS + unit % HEADS) * HEAD;
}

// hold loads the subgroup's rows of a matrix, times a factor.
void hold(F32 from, float factor, uint row, uint per_tile, uint count, out LEFT to[DEPTH]) {
    barrier();
    for (uint at = gl_LocalInvocationIndex; at < ROWS * (HEAD / 8); at += WG) {
        uint r = at / (HEAD / 8), unit = r / T, index = min(per_tile + unit / HEADS * T + r % T, count - 1);
        uint i = row_at(row, unit, index) + at % (HEAD / 8) * 8;
        staged[r * STRIDE + at % (HEAD / 8)] = packed(factor * load_f32(from, i), factor * load_f32(from, i + 4));
    }
    barrier();
    [[unroll]] for (uint n = 0; n < DEPTH; n++) coopMatLoad(to[n], staged, gl_SubgroupID * T * STRIDE + n * (T / 8), STRIDE, ROWS_FIRST);
}

// prepare computes delta, and loads it and the statistics by row.
void prepare(uint row, uint per_tile, uint count) {
    const uint unit = gl_SubgroupID, r = gl_SubgroupInvocationID / SHARE, mine = per_tile + unit / HEADS * T + r;
    const uint index = min(mine, count - 1), from = row_at(row, unit, index);
    float sum = 0;
    for (uint i = gl_SubgroupInvocationID % SHARE * 4; i < HEAD; i += 4 * SHARE) sum += dot(load_f32(dy, from + i), load_act(y, from + i));
    for (uint d = 1; d < SHARE; d *= 2) sum += subgroupShuffleXor(sum, d);
    if (gl_SubgroupInvocationID % SHARE == 0) {
        row_stats[unit * T + r] = stats.v[from / HEAD] * LOG2E;
        row_deltas[unit * T + r] = LIFT * sum;
        if (mine < count) delta.v[from / HEAD] = sum;
    }
    subgroupBarrier();
    coopMatLoad(stat, row_stats, unit * T, 0, COLUMNS_FIRST);
    coopMatLoad(own_delta, row_deltas, unit * T, 0, COLUMNS_FIRST);
}

void main() {
    const uint t = gl_WorkGroupID.x * 4, kv_head = gl_WorkGroupID.y * HEADS / (heads / kv_heads);
    const uint per_tile = (gl_NumWorkGroups.z - 1 - gl_WorkGroupID.z) * PER_HEAD; // the longest first
    const uint row = uint(tiles.v[t]), count = uint(tiles.v[t + 1]), table = uint(tiles.v[t + 3]);
    if (per_tile >= count) return;
    const uint last = min(per_tile + PER_HEAD, count) - 1, mine = per_tile + gl_SubgroupID / HEADS * T;

    hold(q, 1, row, per_tile, count, query);
    hold(dy, LIFT, row, per_tile, count, weight);
    prepare(row, per_tile, count);
    [[unroll]] for (uint n = 0; n < DEPTH; n++) acc[n] = SUM(0);
    uint from = window == 0 || per_tile + 1 < window ? 0 : (per_tile + 1 - window) / STEP * STEP, pair = 0;
    fetch(from, last, table, kv_head);
    barrier();
    [[dont_unroll]] for (uint key = from; key <= last; key += STEP) {
        if (STAGES == 1 && key > from) barrier();
        stage(pair);
        barrier();
        if (key + STEP <= last) fetch(key + STEP, last, table, kv_head);
        bool edge = key + STEP > mine + 1 || (window > 0 && key + window < mine + T);
        [[unroll]] for (uint j = 0; j < STEP; j += T) visit(pair + j * STRIDE, pair + (STEP + j) * STRIDE, edge, mine, key + j);
        if (STAGES == 2) pair = PAIR - pair;
    }
    barrier();
    [[unroll]] for (uint n = 0; n < DEPTH; n++) {
        coopMatStore(acc[n], staged, gl_SubgroupID * SQUARE, T / 4, ROWS_FIRST);
        subgroupBarrier();
        for (uint i = gl_SubgroupInvocationID; i < SQUARE; i += LANES)
            if (mine + i / (T / 4) < count)
                store_f32(d, grad_at(row + mine + i / (T / 4), gl_WorkGroupID.y * HEADS + gl_SubgroupID % HEADS) + n * T + i % (T / 4) * 4,
                    scale / LIFT * uintBitsToFloat(staged[gl_SubgroupID * SQUARE + i]));
        subgroupBarrier();
    }
}
