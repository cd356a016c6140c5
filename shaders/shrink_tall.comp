#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// SMLM shrink for many rows: V = scale * X . A^T, segmented by adapter, for up
// to three modules that share X. A workgroup computes ROWS rows of one adapter, one
// part and four times QUADS ranks; its lanes take four inputs each, so that A
// is read once for ROWS rows.
#include "storage.glsl"
#include "smlm.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint ROWS = 8;
layout(constant_id = 2) const uint QUADS = 2;
const uint WG = gl_WorkGroupSize.x;

layout(push_constant) uniform Push {
    ACT x;        // [rows, k]
    Parts parts;  // [count]
    F32 v;        // [rows, count, v_stride]
    Ints tiles;   // [.] of (first row, rows, slot)
    uint k, count, v_stride, tile_count, blocks; // of ranks
};

#include "tall.glsl"

void sum(Slot s, uint first, uint rows, uint rank) {
    [[dont_unroll]] for (uint kk = gl_LocalInvocationID.x * 4; kk < k; kk += WG * 4) {
        vec4 in_row[ROWS];
        [[unroll]] for (uint i = 0; i < ROWS; i++) in_row[i] = load_act(x, (first + min(i, rows - 1)) * k + kk);
        [[unroll]] for (uint c = 0; c < 4 * QUADS; c++) {
            const vec4 a = load_act(s.a, min(rank + c, s.rank - 1) * k + kk);
            [[unroll]] for (uint i = 0; i < ROWS; i++) acc[i * QUADS + c / 4][c % 4] += dot(in_row[i], a);
        }
    }
}

void main() {
    const uint job = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x, each = count * blocks;
    if (job >= tile_count * each) return;
    const uint t = job / each, p = job / blocks % count, rank = job % blocks * 4 * QUADS;
    const uint first = uint(tiles.v[3 * t]), rows = uint(tiles.v[3 * t + 1]);
    Slot s = parts.v[p].slots.v[tiles.v[3 * t + 2]];
    if (IS_NULL(s.a) || rank >= s.rank) return; // all lanes or none
    for (uint j = 0; j < CELLS; j++) acc[j] = vec4(0);
    sum(s, first, rows, rank);
    add_lanes();
    for (uint j = gl_LocalInvocationID.x; j < CELLS; j += WG) {
        const uint i = j / QUADS, at = rank + j % QUADS * 4;
        if (i < rows && at < s.rank) store_f32(v, ((first + i) * count + p) * v_stride + at, s.scale * cell(j));
    }
}
