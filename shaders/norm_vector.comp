#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
// RMSNorm with the SMLM shrink beside it as in norm.comp, for few rows on a GPU:
// workgroups below `rows` norm a row each, the others shrink as in shrink_vector.glsl
// and sum the squares of their own rows on the way.
#include "storage.glsl"
#include "smlm.glsl"
#include "sixteen.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TM = 1;
layout(constant_id = 2) const uint RANKS = 2;
layout(constant_id = 3) const uint DEPTH = 4;
const uint HELD = 4; // vec4s of a row that a lane keeps between its two sweeps

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

uint source(uint row) { return listed(list, row, uvec2(x)); }

vec4 input_of(uint i, uint row, uint kk);
float row_scale(uint i);

#include "shrink_vector.glsl"

float inverse_rms(float sum) { return inversesqrt(sum / float(k) + eps); }

vec4 input_of(uint i, uint row, uint kk) {
    const vec4 a = load_f32(x, source(row) * k + kk);
    squares[i] += dot(a, a);
    return a * load_f32(g, kk);
}

float row_scale(uint i) { return inverse_rms(sum_of(TM * RANKS + i)); }

void store(uint row, uint i, vec4 a, float r) {
    store_act(y, row * k + i, a * r * load_f32(g, i));
    if (row < copies) store_f32(copy, row * k + i, a);
}

void norm(uint row) {
    const uint from = source(row) * k, first = gl_LocalInvocationID.x * 4;
    vec4 held[HELD];
    float s = 0;
    [[unroll]] for (uint j = 0; j < HELD; j++) {
        const uint i = first + j * WG * 4;
        held[j] = i < k ? load_f32(x, from + i) : vec4(0);
        s += dot(held[j], held[j]);
    }
    for (uint i = first + HELD * WG * 4; i < k; i += WG * 4) {
        const vec4 a = load_f32(x, from + i);
        s += dot(a, a);
    }
    squares[0] = s;
    add_up();
    const float r = row_scale(0);
    [[unroll]] for (uint j = 0; j < HELD; j++) {
        const uint i = first + j * WG * 4;
        if (i < k) store(row, i, held[j], r);
    }
    for (uint i = first + HELD * WG * 4; i < k; i += WG * 4) store(row, i, load_f32(x, from + i), r);
}

void main() {
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (group < rows) {
        norm(group);
        return;
    }
    const uint job = group - rows;
    if (job >= tile_count * blocks) return;
    Tile t = shrink_tile(job / blocks);
    const uint first = job % blocks * RANKS;
    if (first < look_up(t.slot)) shrink(t, first);
}
