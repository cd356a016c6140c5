#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// RMSNorm, y = x * g / sqrt(mean(x^2) + eps), and in the same dispatch the SMLM
// shrink of the normed rows: V = scale * y . A^T. Both read the residual stream,
// neither waits for the other: workgroups below `rows` norm a row each, the
// others shrink a tile as in shrink.comp, from x * g and the rows' own sums of squares.
#include "storage.glsl"
#include "smlm.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TM = 8;
layout(constant_id = 2) const uint RANKS = 1;
layout(constant_id = 3) const uint SPLIT_K = 0;
const uint WG = gl_WorkGroupSize.x;

layout(push_constant) uniform Push {
    F32 x;        // [., k] the residual stream
    F32 g;        // [k]
    ACT y;        // [rows, k]
    Ints list;    // [rows] which row of x each row of y is; null: its own
    Parts parts;  // [count]
    Floats v;     // [rows, count, v_stride]
    Ints tiles;   // [tile_count] of (first row, rows, slot)
    F32 copy;     // [copies, k] of the first rows' x
    uint rows, k;
    float eps;
    uint count, v_stride, tile_count, blocks, copies;
};

#include "reduce.glsl"

shared float shares[WG > SMALL ? TM * WG : 1]; // each lane's share of the tile's rows' sums
float inverse[TM];                             // 1/rms of the tile's rows

// source is the row of x behind a row of y.
uint source(uint row) { return listed(list, row, uvec2(x)); }

// squares sums the squares of a row of x from `first` on in steps.
float squares(uint row, uint first, uint step) {
    float s = 0;
    for (uint i = first; i < k; i += step) {
        vec4 a = load_f32(x, row * k + i);
        s += dot(a, a);
    }
    return s;
}

float inverse_rms(float sum) { return inversesqrt(sum / float(k) + eps); }

// row_rms is 1/rms of a row of x. A small workgroup's lanes each sum all of
// it: the loads are the same for all of them, and barriers cost more.
float row_rms(uint row) {
    if (WG <= SMALL) return inverse_rms(squares(row, 0, 4));
    return inverse_rms(sum_of_lanes(squares(row, gl_LocalInvocationID.x * 4, WG * 4)));
}

uint row_start(uint row) { return source(row) * k; }
vec4 load_x(uint at, uint kk) { return load_f32(x, at + kk); }
vec4 gain_of(uint kk) { return load_f32(g, kk); }
float row_scale(uint i) { return inverse[i]; }

#include "shrink.glsl"

// tile_rms fills inverse[] for the rows of a tile, all at once where lanes
// have to wait for each other.
void tile_rms(Tile t) {
    const uint lane = gl_LocalInvocationID.x;
    if (WG <= SMALL) {
        for (uint i = 0; i < TM; i++) inverse[i] = row_rms(source(t.row + min(i, t.rows - 1)));
        return;
    }
    for (uint i = 0; i < TM; i++) shares[i * WG + lane] = squares(source(t.row + min(i, t.rows - 1)), lane * 4, WG * 4);
    [[dont_unroll]] for (uint h = WG / 2; h > 0; h /= 2) {
        barrier();
        if (lane < h)
            for (uint i = 0; i < TM; i++) shares[i * WG + lane] += shares[i * WG + lane + h];
    }
    barrier();
    for (uint i = 0; i < TM; i++) inverse[i] = inverse_rms(shares[i * WG]);
}

void norm(uint row) {
    uint from = source(row);
    float r = row_rms(from);
    for (uint i = gl_LocalInvocationID.x * 4; i < k; i += WG * 4) {
        const vec4 a = load_f32(x, from * k + i);
        store_act(y, row * k + i, a * r * load_f32(g, i));
        if (row < copies) store_f32(copy, row * k + i, a);
    }
}

void main() {
    uint job = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (job < rows) {
        norm(job);
        return;
    }
    job -= rows;
    if (job >= tile_count * blocks) return;
    Tile t = shrink_tile(job / blocks);
    if (!has_block(t, job % blocks)) return;
    tile_rms(t);
    shrink(t, job % blocks);
}
