#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
// SMLM shrink as in shrink.comp, for few rows on a GPU: see shrink_vector.glsl. A
// workgroup for each (tile of rows, block of ranks).
#include "storage.glsl"
#include "smlm.glsl"
#include "sixteen.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TM = 1;
layout(constant_id = 2) const uint RANKS = 2;
layout(constant_id = 3) const uint DEPTH = 4;

layout(push_constant) uniform Push {
    ACT x;        // [rows, k]
    Parts parts;  // [count]
    Floats v;     // [rows, count, v_stride]
    Ints tiles;   // [tile_count] of (first row, rows, slot)
    uint k, count, v_stride, tile_count, blocks;
};

vec4 input_of(uint i, uint row, uint kk) { return load_act(x, row * k + kk); }
float row_scale(uint i) { return 1.0; }

#include "shrink_vector.glsl"

void main() {
    const uint job = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (job >= tile_count * blocks) return;
    Tile t = shrink_tile(job / blocks);
    const uint first = job % blocks * RANKS;
    if (first < look_up(t.slot)) shrink(t, first);
}
