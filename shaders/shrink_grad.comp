#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// SMLM's backward shrink: U = scale * dY . B, segmented by adapter, for up to
// three modules that share their input. One workgroup for each (tile of rows, part,
// block of ranks); a tile's rows have one adapter, so B is read once for all of them.
//
// Lanes over ranks (SPLIT = 0): a lane computes QUADS times four ranks, dY is
// loaded once for all lanes. Lanes over outputs (SPLIT = 1): the workgroup
// computes QUADS times four ranks, reading dY and B in one sweep.
#include "storage.glsl"
#include "smlm.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TM = 8;
layout(constant_id = 2) const uint QUADS = 1;
layout(constant_id = 3) const uint SPLIT = 0;
layout(constant_id = 4) const uint STEP = 4;   // outputs at a time, as in linear_grad.comp; unused with SPLIT
const uint WG = gl_WorkGroupSize.x, APART = SPLIT == 1 ? 1 : WG;

layout(push_constant) uniform Push {
    ACT dy;       // [rows, dy_stride], the parts side by side
    Parts parts;  // [count]
    F32 u;        // [rows, count, u_stride]
    Ints tiles;   // [tile_count] of (first row, rows, slot)
    uint count, dy_stride, u_stride, tile_count, blocks;
};

shared vec4 partial[SPLIT == 1 ? WG * TM * QUADS : 1];
uint row[TM];
uint rank[QUADS];  // the lane's first of four; those beyond the last are the last four
vec4 acc[TM * QUADS];

void gather(Part part, Slot s) { // lanes over ranks
    uint n = 0;
    do {
        vec4 d[TM];
        for (uint i = 0; i < TM; i++) {
            const uint at = row[i] * dy_stride + part.offset + n;
            d[i] = STEP == 4 ? load_act(dy, at) : vec4(load1_act(dy, at), 0, 0, 0);
        }
        for (uint j = 0; j < STEP; j++)
            for (uint q = 0; q < QUADS; q++) {
                vec4 b = load_act(s.b, (n + j) * s.rank + rank[q]);
                for (uint i = 0; i < TM; i++) acc[i * QUADS + q] += d[i][j] * b;
            }
        n += STEP;
    } while (n < part.n);
}

void sweep(Part part, Slot s) { // lanes over outputs
    for (uint n = gl_LocalInvocationID.x; n < part.n; n += WG)
        for (uint q = 0; q < QUADS; q++) {
            vec4 b = load_act(s.b, n * s.rank + rank[q]);
            for (uint i = 0; i < TM; i++) acc[i * QUADS + q] += load1_act(dy, row[i] * dy_stride + part.offset + n) * b;
        }
}

void reduce() {
    const uint lane = gl_LocalInvocationID.x;
    for (uint j = 0; j < TM * QUADS; j++) partial[j * WG + lane] = acc[j];
    [[dont_unroll]] for (uint h = WG / 2; h > 0; h /= 2) {
        barrier();
        if (lane < h)
            for (uint j = 0; j < TM * QUADS; j++) partial[j * WG + lane] += partial[j * WG + lane + h];
    }
    barrier();
}

void main() {
    const uint lane = gl_LocalInvocationID.x;
    const uint job = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (job >= tile_count * count * blocks) return;
    const uint t = job / (count * blocks), p = job / blocks % count, from = job % blocks * QUADS * APART * 4;
    const uint first = uint(tiles.v[3 * t]), rows = uint(tiles.v[3 * t + 1]);
    Part part = parts.v[p];
    Slot s = part.slots.v[tiles.v[3 * t + 2]];
    if (IS_NULL(s.b) || from >= s.rank) return;
    for (uint i = 0; i < TM; i++) row[i] = first + min(i, rows - 1);
    for (uint q = 0; q < QUADS; q++) rank[q] = min(from + (q * APART + (SPLIT == 1 ? 0 : lane)) * 4, s.rank - 4);
    for (uint j = 0; j < TM * QUADS; j++) acc[j] = vec4(0);
    if (SPLIT == 1) {
        sweep(part, s);
        reduce();
        for (uint j = lane; j < TM * QUADS; j += WG) {
            const uint i = j / QUADS, at = from + j % QUADS * 4;
            if (i < rows && at < s.rank) store_f32(u, ((first + i) * count + p) * u_stride + at, s.scale * partial[j * WG]);
        }
        return;
    }
    gather(part, s);
    for (uint i = 0; i < TM; i++)
        for (uint q = 0; q < QUADS; q++)
            if (i < rows && from + (q * WG + lane) * 4 < s.rank)
                store_f32(u, (row[i] * count + p) * u_stride + rank[q], s.scale * acc[i * QUADS + q]);
}
