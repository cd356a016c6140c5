#version 460
#extension GL_GOOGLE_include_directive : require
// attention_prefill over a subgroup's cooperative matrices. A workgroup takes
// a tile of queries of HEADS heads that share a key head; its subgroups, each with
// UNITS times T queries of a head, walk the same keys, STEP at a time, staged in shared
// memory while those of the step before are multiplied.
#include "storage.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint HEAD = 128;
layout(constant_id = 2) const uint STATS = 0;    // 1: the softmax's denominators are wanted
layout(constant_id = 3) const uint T = 16;       // rows and columns of a fragment
layout(constant_id = 4) const uint SUBGROUPS = 8;
layout(constant_id = 5) const uint HEADS = 4;    // query heads of a workgroup, a divisor of SUBGROUPS * UNITS
layout(constant_id = 6) const uint UNITS = 1;    // fragments of queries of a subgroup
layout(constant_id = 7) const uint STEP = 32;    // of a step
layout(constant_id = 8) const uint STAGES = 2;   // buffers of keys and values
layout(constant_id = 9) const uint HOLD = 1;     // 1: queries in registers; 0: in shared memory
const uint WG = gl_WorkGroupSize.x, BLOCK = 16;
#include "attention_matrix.glsl"

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

const uint LANES = WG / SUBGROUPS, ROWS = T * UNITS * SUBGROUPS;
const uint PER_HEAD = ROWS / HEADS;              // queries of a head of a workgroup
const uint DEPTH = HEAD / T, WIDTH = STEP / T;   // fragments of a head, of a step's keys
const uint QUERIES = ROWS * STRIDE, PAIR = 2 * STEP * STRIDE; // uvec4 of staged queries; of keys and values

// Queries first, then in their place (HOLD) or behind them keys and values,
// last in their place fragments of the output.
const uint WALK = STAGES * PAIR, HELD = QUERIES > WALK ? QUERIES : WALK;
shared uvec4 staged[HOLD == 1 ? HELD : QUERIES + WALK];
const uint PAIRS = HOLD == 1 ? 0 : QUERIES;

const float MASKED = -2e30, LOWEST = -1e30;      // exp(MASKED - LOWEST) is 0
const float LOG2E = 1.4426950408889634;

LEFT query[HOLD * UNITS * DEPTH + 1 - HOLD];
SUM acc[UNITS * DEPTH], score[UNITS * WIDTH];

const uint SQUARE = T * T / 4; // uvec4 of a fragment of float32

// unit_low is the position of the first query of one of the subgroup's fragments.
uint unit_low(uint low, uint unit) {
    return low + ((gl_SubgroupID * UNITS + unit) / HEADS - gl_SubgroupID * UNITS / HEADS) * T;
}

#ifdef REGISTERS
#include "softmax_registers.glsl"
#else
#include "softmax_shared.glsl"
#endif

#include "attention_keys.glsl"

LEFT query_at(uint unit, uint d) {
    if (HOLD == 1) return query[unit * DEPTH + d];
    LEFT f;
    coopMatLoad(f, staged, (gl_SubgroupID * UNITS + unit) * T * STRIDE + d * (T / 8), STRIDE, ROWS_FIRST);
    return f;
}

void multiply_keys(uint pair) {
    [[unroll]] for (uint i = 0; i < UNITS * WIDTH; i++) score[i] = SUM(0);
    [[unroll]] for (uint d = 0; d < DEPTH; d++)
        [[unroll]] for (uint j = 0; j < WIDTH; j++) {
            RIGHT f;
            coopMatLoad(f, staged, pair + j * T * STRIDE + d * (T / 8), STRIDE, COLUMNS_FIRST);
            [[unroll]] for (uint u = 0; u < UNITS; u++)
                score[u * WIDTH + j] = coopMatMulAdd(query_at(u, d), f, score[u * WIDTH + j]);
        }
}

void multiply_values(uint pair) {
    [[unroll]] for (uint j = 0; j < WIDTH; j++) {
        LEFT p[UNITS];
        [[unroll]] for (uint u = 0; u < UNITS; u++) p[u] = probability(u, j);
        [[unroll]] for (uint d = 0; d < DEPTH; d++) {
            RIGHT f;
            coopMatLoad(f, staged, pair + (STEP + j * T) * STRIDE + d * (T / 8), STRIDE, ROWS_FIRST);
            [[unroll]] for (uint u = 0; u < UNITS; u++) acc[u * DEPTH + d] = coopMatMulAdd(p[u], f, acc[u * DEPTH + d]);
        }
    }
}

// finish writes the outputs through shared memory, a fragment at a time.
void finish(uint row, uint per_tile, uint count) {
    const uint at = gl_SubgroupID * SQUARE;
    [[unroll]] for (uint u = 0; u < UNITS; u++) {
        const uint unit = gl_SubgroupID * UNITS + u, head = gl_WorkGroupID.y * HEADS + unit % HEADS;
        const uint index = per_tile + unit / HEADS * T;
        divide(u, at);
        subgroupBarrier();
        if (STATS == 1)
            for (uint r = gl_SubgroupInvocationID; r < T; r += LANES)
                if (index + r < count) stats.v[(row + index + r) * heads + head] = uintBitsToFloat(staged[at + r * (T / 4)].x);
        subgroupBarrier();
        [[unroll]] for (uint d = 0; d < DEPTH; d++) {
            coopMatStore(acc[u * DEPTH + d], staged, at, T / 4, ROWS_FIRST);
            subgroupBarrier();
            for (uint i = gl_SubgroupInvocationID; i < SQUARE; i += LANES) {
                uint r = i / (T / 4);
                if (index + r < count)
                    store_act(y, ((row + index + r) * heads + head) * HEAD + d * T + i % (T / 4) * 4, uintBitsToFloat(staged[at + i]));
            }
            subgroupBarrier();
        }
    }
}

void main() {
    const uint t = gl_WorkGroupID.x * 4, kv_head = gl_WorkGroupID.y * HEADS / (heads / kv_heads);
    const uint per_tile = (gl_NumWorkGroups.z - 1 - gl_WorkGroupID.z) * PER_HEAD; // the longest first
    const uint row = uint(tiles.v[t]), count = uint(tiles.v[t + 1]), table = uint(tiles.v[t + 3]);
    if (per_tile >= count) return;
    const uint first = uint(tiles.v[t + 2]) + per_tile, last = uint(tiles.v[t + 2]) + min(per_tile + PER_HEAD, count) - 1;

    for (uint at = gl_LocalInvocationIndex; at < ROWS * (HEAD / 8); at += WG) {
        uint unit = at / (HEAD / 8) / T, index = min(per_tile + unit / HEADS * T + at / (HEAD / 8) % T, count - 1);
        uint from = ((row + index) * heads + gl_WorkGroupID.y * HEADS + unit % HEADS) * HEAD + at % (HEAD / 8) * 8;
        staged[at / (HEAD / 8) * STRIDE + at % (HEAD / 8)] = packed(load_f32(q, from), load_f32(q, from + 4));
    }
    barrier();
    [[unroll]] for (uint i = 0; i < UNITS * DEPTH; i++) {
        acc[i] = SUM(0);
        if (HOLD == 1) coopMatLoad(query[i], staged, (gl_SubgroupID * UNITS + i / DEPTH) * T * STRIDE + i % DEPTH * (T / 8), STRIDE, ROWS_FIRST);
    }
    start_softmax();

    // Positions of the subgroup's queries.
    const uint low = first + gl_SubgroupID * UNITS / HEADS * T;
    const uint high = first + ((gl_SubgroupID + 1) * UNITS - 1) / HEADS * T + T - 1;
    uint from = window == 0 || first + 1 < window ? 0 : (first + 1 - window) / STEP * STEP, pair = PAIRS;
    fetch(from, last, table, kv_head);
    barrier();
    [[dont_unroll]] for (uint key = from; key <= last; key += STEP) {
        if (STAGES == 1 && key > from) barrier();
        stage(pair);
        barrier();
        if (key + STEP <= last) fetch(key + STEP, last, table, kv_head);
        multiply_keys(pair);
        softmax(key + STEP > low + 1 || (window > 0 && key + window <= high), low, key);
        multiply_values(pair);
        if (STAGES == 2) pair = 2 * PAIRS + PAIR - pair;
    }
    barrier();
    finish(row, per_tile, count);
}
