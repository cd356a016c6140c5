#version 460
#extension GL_GOOGLE_include_directive : require
// attention_grad_kv over cooperative matrices; see attention_grad_matrix.glsl.
// Rows are keys of one key head, columns the queries of the heads that share it, or
// of some of them: then the results are partial sums, which rope_grad adds up.
#include "storage.glsl"
#include "attention_grad.glsl"
#include "attention_grad_matrix.glsl"

const uint WALK = STAGES * PAIR, RESULTS = SUBGROUPS * SQUARE;
shared uvec4 staged[RESULTS > WALK ? RESULTS : WALK]; // queries and their gradients, then fragments of the results
shared float column_stats[STAGES * STEP], column_deltas[STAGES * STEP];

LEFT key[DEPTH], value[DEPTH];
SUM dkey[DEPTH], dvalue[DEPTH]; // dkey without the scale
vec4 query_moves[2 * MOVES], weight_moves[2 * MOVES];
float stat_move, delta_move;

bool counts(uint row, uint column, uint end) { return column < end && sees(column, row); }

// fetch loads queries of a head of a sequence, at most count, that begins at a row.
void fetch(uint row, uint head, uint query, uint count) {
    [[unroll]] for (uint i = 0; i < MOVES; i++) {
        uint at = gl_LocalInvocationIndex + i * WG, index = min(query + at / (HEAD / 8), count - 1);
        uint from = ((row + index) * heads + head) * HEAD + at % (HEAD / 8) * 8;
        [[unroll]] for (uint j = 0; j < 2; j++) {
            query_moves[2 * i + j] = load_f32(q, from + 4 * j);
            weight_moves[2 * i + j] = load_f32(dy, from + 4 * j);
        }
    }
    if (gl_LocalInvocationIndex < STEP) {
        uint at = (row + min(query + gl_LocalInvocationIndex, count - 1)) * heads + head;
        stat_move = stats.v[at] * LOG2E;
        delta_move = delta.v[at] * LIFT;
    }
}

void stage(uint stage) {
    [[unroll]] for (uint i = 0; i < MOVES; i++) {
        uint at = gl_LocalInvocationIndex + i * WG, to = stage * PAIR + at / (HEAD / 8) * STRIDE + at % (HEAD / 8);
        if (TILE % WG != 0 && at >= TILE) break;
        staged[to] = packed(query_moves[2 * i], query_moves[2 * i + 1]);
        staged[to + STEP * STRIDE] = packed(LIFT * weight_moves[2 * i], LIFT * weight_moves[2 * i + 1]);
    }
    if (gl_LocalInvocationIndex < STEP) {
        column_stats[stage * STEP + gl_LocalInvocationIndex] = stat_move;
        column_deltas[stage * STEP + gl_LocalInvocationIndex] = delta_move;
    }
}

// visit adds T queries that are staged at x, their gradients at w, their statistics at c.
void visit(uint x, uint w, uint c, bool edge, uint mine, uint query, uint count) {
    SUM s = SUM(0), g = SUM(0), stat, their_delta;
    RIGHT f;
    [[unroll]] for (uint n = 0; n < DEPTH; n++) {
        coopMatLoad(f, staged, x + n * (T / 8), STRIDE, COLUMNS_FIRST);
        s = coopMatMulAdd(key[n], f, s);
        coopMatLoad(f, staged, w + n * (T / 8), STRIDE, COLUMNS_FIRST);
        g = coopMatMulAdd(value[n], f, g);
    }
    coopMatLoad(stat, column_stats, c, 0, ROWS_FIRST);
    coopMatLoad(their_delta, column_deltas, c, 0, ROWS_FIRST);
    [[unroll]] for (uint e = 0; e < s.length(); e++) {
        s[e] = exp2(fma(s[e], scale * LOG2E, -stat[e]));
        g[e] = s[e] * (g[e] - their_delta[e]);
    }
    LEFT p = left(s, edge, mine, query, count), ds = left(g, edge, mine, query, count);
    [[unroll]] for (uint n = 0; n < DEPTH; n++) {
        coopMatLoad(f, staged, w + n * (T / 8), STRIDE, ROWS_FIRST);
        dvalue[n] = coopMatMulAdd(p, f, dvalue[n]);
        coopMatLoad(f, staged, x + n * (T / 8), STRIDE, ROWS_FIRST);
        dkey[n] = coopMatMulAdd(ds, f, dkey[n]);
    }
}

// hold loads the subgroup's keys and values. A fragment's lie in one block of the
// cache, where they follow each other.
void hold(uint mine, uint last, uint table, uint kv_head) {
    const uint cell = cell_of(table, min(mine, last / T * T), kv_head) / 8;
    [[unroll]] for (uint n = 0; n < DEPTH; n++) {
        coopMatLoad(key[n], Eights(uvec2(keys)).v, cell + n * (T / 8), HEAD / 8, ROWS_FIRST);
        coopMatLoad(value[n], Eights(uvec2(values)).v, cell + n * (T / 8), HEAD / 8, ROWS_FIRST);
        dkey[n] = dvalue[n] = SUM(0);
    }
}

// put writes a fragment of a result, times a factor.
void put(SUM sum, float factor, uint row, uint head, uint n, uint mine, uint count) {
    const uint at = gl_SubgroupID * SQUARE;
    coopMatStore(sum, staged, at, T / 4, ROWS_FIRST);
    subgroupBarrier();
    for (uint i = gl_SubgroupInvocationID; i < SQUARE; i += LANES)
        if (mine + i / (T / 4) < count)
            store_f32(d, grad_at(row + mine + i / (T / 4), head) + n * T + i % (T / 4) * 4, factor * uintBitsToFloat(staged[at + i]));
    subgroupBarrier();
}

void main() {
    const uint t = gl_WorkGroupID.x * 4, group = heads / gl_NumWorkGroups.y; // query heads of the workgroup
    const uint shares = gl_NumWorkGroups.y / kv_heads, share = gl_WorkGroupID.y % shares, kv_head = gl_WorkGroupID.y / shares;
    const uint row = uint(tiles.v[t]), count = uint(tiles.v[t + 1]), table = uint(tiles.v[t + 3]), first = gl_WorkGroupID.z * ROWS;
    if (first >= count) return;
    const uint mine = first + gl_SubgroupID * T;
    // One behind the last query that sees one of the keys.
    const uint end = window == 0 ? count : min(count, first + ROWS - 1 + window);
    const uint steps = (end - first + STEP - 1) / STEP, head = gl_WorkGroupID.y * group;

    hold(mine, count - 1, table, kv_head);
    fetch(row, head, first, count);
    [[dont_unroll]] for (uint i = 0; i < group * steps; i++) {
        const uint now = STAGES == 2 ? i % 2 : 0, query = first + i % steps * STEP, next = i + 1;
        if (STAGES == 1 && i > 0) barrier();
        stage(now);
        barrier();
        if (next < group * steps) fetch(row, head + next / steps, first + next % steps * STEP, count);
        bool edge = query < mine + T - 1 || query + STEP > count || (window > 0 && query + STEP > mine + window);
        [[unroll]] for (uint j = 0; j < STEP; j += T) {
            uint x = now * PAIR + j * STRIDE;
            visit(x, x + STEP * STRIDE, now * STEP + j, edge, mine, query + j, count);
        }
    }
    barrier();
    [[unroll]] for (uint n = 0; n < DEPTH; n++) {
        put(dkey[n], scale / LIFT, row, heads + share * kv_heads + kv_head, n, mine, count);
        put(dvalue[n], 1 / LIFT, row, heads + (shares + share) * kv_heads + kv_head, n, mine, count);
    }
}
