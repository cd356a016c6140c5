#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// SMLM shrink for many rows on cooperative matrices: V = scale * X . A^T, segmented
// by adapter, for up to three modules that share X.
#include "storage.glsl"
#include "smlm.glsl"

layout(push_constant) uniform Push {
    ACT x;        // [rows, k]
    Parts parts;  // [count]
    F32 v;        // [rows, count, v_stride]
    Ints tiles;   // [.] of (first row, rows, slot)
    uint k, count, v_stride, tile_count, blocks; // of ranks
};

#include "shrink_matrix.glsl"

Slot s;
uint first, rows, rank;

uvec4 row_eight(uint i, uint at) { return at < k ? Eights(uvec2(x)).v[((first + min(i, rows - 1)) * k + at) / 8] : uvec4(0); }

uvec4 factor_eight(uint i, uint eight, uint at) {
    at += eight;
    return at < k && rank + i < s.rank ? Eights(uvec2(s.a)).v[((rank + i) * k + at) / 8] : uvec4(0);
}

void main() {
    const uint job = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x, each = count * blocks;
    if (job >= tile_count * each) return;
    const uint t = job / each, p = job / blocks % count;
    rank = job % blocks * RANKS;
    first = uint(tiles.v[3 * t]);
    rows = uint(tiles.v[3 * t + 1]);
    s = parts.v[p].slots.v[tiles.v[3 * t + 2]];
    if (IS_NULL(s.a) || rank >= s.rank) return; // all or none
    product(k);
    for (uint e = gl_LocalInvocationIndex; e < ROWS * RANKS / 4; e += WG) {
        const uint i = e / (RANKS / 4), at = rank + e % (RANKS / 4) * 4;
        if (i < rows && at < s.rank) store_f32(v, ((first + i) * count + p) * v_stride + at, s.scale * sum_of(i, e % (RANKS / 4)));
    }
}
