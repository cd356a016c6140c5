#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// SMLM's backward shrink for many rows on cooperative matrices: U = scale * dY . B,
// segmented by adapter, for up to three modules that share their input, whose outputs
// are multiples of 8.
#define FACTOR_BY_ROWS
#include "storage.glsl"
#include "smlm.glsl"

layout(push_constant) uniform Push {
    ACT dy;       // [rows, dy_stride], the parts side by side
    Parts parts;  // [count]
    F32 u;        // [rows, count, u_stride]
    Ints tiles;   // [.] of (first row, rows, slot)
    uint count, dy_stride, u_stride, tile_count, blocks; // of ranks
};

#include "shrink_matrix.glsl"

Part part;
Slot s;
uint first, rows, rank;

uvec4 row_eight(uint i, uint at) {
    return at < part.n ? Eights(uvec2(dy)).v[((first + min(i, rows - 1)) * dy_stride + part.offset + at) / 8] : uvec4(0);
}

uvec4 factor_eight(uint i, uint eight, uint at) {
    const uint from = (at + i) * s.rank + rank + eight;
    ACT b = s.b;
    uvec4 bits = uvec4(0);
    if (at + i < part.n && rank + eight < s.rank) bits.xy = b.v[from / 4];
    if (at + i < part.n && rank + eight + 4 < s.rank) bits.zw = b.v[from / 4 + 1];
    return bits;
}

void main() {
    const uint job = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x, each = count * blocks;
    if (job >= tile_count * each) return;
    const uint t = job / each, p = job / blocks % count;
    rank = job % blocks * RANKS;
    first = uint(tiles.v[3 * t]);
    rows = uint(tiles.v[3 * t + 1]);
    part = parts.v[p];
    s = part.slots.v[tiles.v[3 * t + 2]];
    if (IS_NULL(s.b) || rank >= s.rank) return; // all or none
    product(part.n);
    for (uint e = gl_LocalInvocationIndex; e < ROWS * RANKS / 4; e += WG) {
        const uint i = e / (RANKS / 4), at = rank + e % (RANKS / 4) * 4;
        if (i < rows && at < s.rank) store_f32(u, ((first + i) * count + p) * u_stride + at, s.scale * sum_of(i, e % (RANKS / 4)));
    }
}
