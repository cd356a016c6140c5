#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// SMLM shrink: V = scale * X . A^T, segmented by adapter, for up to three
// modules that share X. One workgroup for each (tile of rows, block of ranks);
// blocks beyond an adapter's own ranks leave at once.
#include "storage.glsl"
#include "smlm.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TM = 8;
layout(constant_id = 2) const uint RANKS = 1;
layout(constant_id = 3) const uint SPLIT_K = 0;
const uint WG = gl_WorkGroupSize.x;

layout(push_constant) uniform Push {
    ACT x;        // [rows, k]
    Parts parts;  // [count]
    Floats v;     // [rows, count, v_stride]
    Ints tiles;   // [tile_count] of (first row, rows, slot)
    uint k, count, v_stride, tile_count, blocks;
};

uint row_start(uint row) { return row * k; }
vec4 load_x(uint at, uint kk) { return load_act(x, at + kk); }
vec4 gain_of(uint kk) { return vec4(1); }
float row_scale(uint i) { return 1.0; }

#include "shrink.glsl"

void main() {
    uint job = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (job >= tile_count * blocks) return;
    Tile t = shrink_tile(job / blocks);
    if (has_block(t, job % blocks)) shrink(t, job % blocks);
}
