#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// SMLM's backward shrink for many rows: U = scale * dY . B, segmented by adapter,
// for up to three modules that share their input, whose outputs are multiples of 4. A
// workgroup computes ROWS rows of one adapter, one part and four times QUADS ranks; its
// lanes take four outputs each, so that B is read once for ROWS rows.
#include "storage.glsl"
#include "smlm.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint ROWS = 8;
layout(constant_id = 2) const uint QUADS = 2;
const uint WG = gl_WorkGroupSize.x;

layout(push_constant) uniform Push {
    ACT dy;       // [rows, dy_stride], the parts side by side
    Parts parts;  // [count]
    F32 u;        // [rows, count, u_stride]
    Ints tiles;   // [.] of (first row, rows, slot)
    uint count, dy_stride, u_stride, tile_count, blocks; // of ranks
};

#include "tall.glsl"

void sum(Part part, Slot s, uint first, uint rows, uint rank) {
    [[dont_unroll]] for (uint n = gl_LocalInvocationID.x * 4; n < part.n; n += WG * 4) {
        vec4 d[ROWS];
        [[unroll]] for (uint i = 0; i < ROWS; i++) d[i] = load_act(dy, (first + min(i, rows - 1)) * dy_stride + part.offset + n);
        [[unroll]] for (uint j = 0; j < 4; j++)
            [[unroll]] for (uint q = 0; q < QUADS; q++) {
                const vec4 b = load_act(s.b, (n + j) * s.rank + min(rank + 4 * q, s.rank - 4));
                [[unroll]] for (uint i = 0; i < ROWS; i++) acc[i * QUADS + q] += d[i][j] * b;
            }
    }
}

void main() {
    const uint job = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x, each = count * blocks;
    if (job >= tile_count * each) return;
    const uint t = job / each, p = job / blocks % count, rank = job % blocks * 4 * QUADS;
    const uint first = uint(tiles.v[3 * t]), rows = uint(tiles.v[3 * t + 1]);
    Part part = parts.v[p];
    Slot s = part.slots.v[tiles.v[3 * t + 2]];
    if (IS_NULL(s.b) || rank >= s.rank) return; // all lanes or none
    for (uint j = 0; j < CELLS; j++) acc[j] = vec4(0);
    sum(part, s, first, rows, rank);
    add_lanes();
    for (uint j = gl_LocalInvocationID.x; j < CELLS; j += WG) {
        const uint i = j / QUADS, at = rank + j % QUADS * 4;
        if (i < rows && at < s.rank) store_f32(u, ((first + i) * count + p) * u_stride + at, s.scale * cell(j));
    }
}
