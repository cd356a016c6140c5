#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
// The linear product for a handful of rows on a GPU, where the bound is reading
// W: Y = X . W^T as in linear.comp, with the LoRA expand and the epilogues fused
// in, and with NORM also the RMSNorm of X.
//
// A subgroup computes COLUMNS outputs of TM rows, its lanes over K by 16 bytes.
// COLUMNS * DEPTH loads of each lane are under way at any time: the next ones while
// it multiplies, the first ones while the adapter is looked up. Nothing is shared between subgroups: X comes from
// the first-level cache, once for all columns.
//
// RMSNorm's factor is the same for a whole row, so the subgroup sums the squares
// of X beside the products and applies it at the end.
//
// Control flow is uniform in a subgroup wherever its lanes are summed: subgroupAdd
// takes the lanes that arrive together.
#include "storage.glsl"
#include "smlm.glsl"
#include "sixteen.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TM = 1;
layout(constant_id = 2) const uint COLUMNS = 4;
layout(constant_id = 3) const uint EPILOGUE = 0;
layout(constant_id = 4) const uint DEPTH = 2;
layout(constant_id = 5) const uint ADAPTERS = 0; // 1: some row may have one
layout(constant_id = 6) const uint NORM = 0;

#include "product.glsl"

const uint PER = WEIGHT_PER;

const uint INPUTS = NORM == 1 ? PER / 4 : PER / ACT_PER; // 16-byte loads of PER inputs
const uint GAINS = NORM == 1 ? PER / 4 : 0;

float acc[TM * COLUMNS];
float squares[TM];

// Batch is what a lane loads at a time.
struct Batch { uvec4 w[COLUMNS * DEPTH], x[TM * INPUTS * DEPTH], g[GAINS * DEPTH + 1]; };

uint row_of(uint i) { return min(gl_WorkGroupID.y * TM + i, rows - 1); }

// load starts the loads from position `from`, in units of PER, on.
void load(uint from, out Batch b) {
    [[unroll]] for (uint d = 0; d < DEPTH; d++) {
        const uint at = from + d * gl_SubgroupSize;
        if (at < k / PER) {
            [[unroll]] for (uint c = 0; c < COLUMNS; c++) b.w[d * COLUMNS + c] = Sixteen(part[c / WIDE].w).v[column_of(c) * (k / PER) + at];
            [[unroll]] for (uint j = 0; j < INPUTS; j++)
                [[unroll]] for (uint i = 0; i < TM; i++)
                    b.x[(d * INPUTS + j) * TM + i] = Sixteen(x).v[(row_of(i) * (k / PER) + at) * INPUTS + j];
            [[unroll]] for (uint j = 0; j < GAINS; j++) b.g[d * GAINS + j] = Sixteen(g).v[at * GAINS + j];
        }
    }
}

// input_of is the qth four of a row's inputs in load d of a batch.
vec4 input_of(Batch b, uint i, uint d, uint q) {
    if (NORM == 0 && INPUTS == 1) return act_of(b.x[d * TM + i], q);
    const vec4 a = uintBitsToFloat(b.x[(d * INPUTS + q) * TM + i]);
    if (NORM == 0) return a;
    squares[i] += dot(a, a);
    return a * uintBitsToFloat(b.g[d * GAINS + q]);
}

void multiply(uint from, Batch b) {
    [[unroll]] for (uint d = 0; d < DEPTH; d++)
        if (from + d * gl_SubgroupSize < k / PER) {
            [[unroll]] for (uint q = 0; q < PER / 4; q++)
                [[unroll]] for (uint i = 0; i < TM; i++) {
                    const vec4 xk = input_of(b, i, d, q);
                    [[unroll]] for (uint c = 0; c < COLUMNS; c++)
                        acc[i * COLUMNS + c] += dot(xk, weight_of(b.w[d * COLUMNS + c], q));
                }
        }
}

// factor is what a row's sums are multiplied by: RMSNorm's.
float factor(uint i) { return NORM == 0 ? 1.0 : inversesqrt(subgroupAdd(squares[i]) / float(k) + eps); }

#include "vector_expand.glsl"

// sum_up makes acc and squares the lane's sums; the adapters are looked up on the way.
void sum_up() {
    const uint lane = gl_SubgroupInvocationID, step = gl_SubgroupSize * DEPTH;
    Batch even, odd;
    load(lane, even);
    [[unroll]] for (uint j = 0; j < TM * COLUMNS; j++) acc[j] = 0;
    [[unroll]] for (uint i = 0; i < TM; i++) squares[i] = 0;
    if (ADAPTERS != 0) look_up();
    // As many turns for all lanes; counted from the lane, since llvmpipe takes turns whose
    // number does not depend on it also where all lanes have returned.
    for (uint at = lane; at < k / PER + lane; at += 2 * step) {
        load(at + step, odd);
        multiply(at, even);
        load(at + 2 * step, even);
        multiply(at + step, odd);
    }
}

void main() {
    if (!locate(gl_WorkGroupID.x * gl_NumSubgroups + gl_SubgroupID)) return;
    sum_up();
    [[unroll]] for (uint i = 0; i < TM; i++) {
        const float f = factor(i);
        [[unroll]] for (uint c = 0; c < COLUMNS; c++)
            acc[i * COLUMNS + c] = subgroupAdd(acc[i * COLUMNS + c] * f + (ADAPTERS != 0 ? expand(i, c / WIDE, c % WIDE) : 0.0));
    }
    const uint lane = gl_SubgroupInvocationID;
    // All lanes have all sums; each stores some, in columns told by its number: what is
    // the same for all lanes llvmpipe loads also where no lane wants it, a bias that is null.
    [[unroll]] for (uint i = 0; i < TM; i++)
        if (GATED) {
            [[unroll]] for (uint c = 0; c < WIDE; c += 2) {
                const uint n = (i * WIDE + c) / 2, past = n / gl_SubgroupSize * gl_SubgroupSize;
                if (lane == n - past)
                    finish_gated(gl_WorkGroupID.y * TM + i, (lane + past) * 2 - i * WIDE, vec2(acc[i * COLUMNS + c], acc[i * COLUMNS + c + 1]),
                        vec2(acc[i * COLUMNS + WIDE + c], acc[i * COLUMNS + WIDE + c + 1]));
            }
        } else {
            [[unroll]] for (uint c = 0; c < COLUMNS; c++) {
                const uint n = i * COLUMNS + c, past = n / gl_SubgroupSize * gl_SubgroupSize;
                if (lane == n - past) finish(gl_WorkGroupID.y * TM + i, lane + past - i * COLUMNS, acc[n]);
            }
        }
}
