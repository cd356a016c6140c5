#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
// The linear product for a handful of rows on a GPU, where the bound is reading
// W: Y = X . W^T as in linear.comp, with the LoRA expand and the epilogues fused
// in, and with NORM also the RMSNorm of X.
//
// A team computes COLUMNS outputs of TM rows, its lanes over K by 16 bytes. It is a
// subgroup or, with SPLIT_K, where so few outputs keep too few subgroups busy, a workgroup.
// COLUMNS * DEPTH loads of each lane are under way at any time: the next ones while
// it multiplies, the first ones while the adapter is looked up. Subgroups share nothing but
// sums: X comes from the first-level cache, once for all columns.
//
// RMSNorm's factor is the same for a whole row, so the team sums the squares
// of X beside the products and applies it at the end.
//
// Control flow is uniform in a subgroup wherever its lanes are summed: subgroupAdd
// takes the lanes that arrive together. Lanes part only behind the last of the sums.
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
layout(constant_id = 7) const uint SPLIT_K = 0;  // 1: a workgroup is a team

#include "product.glsl"

const uint PER = WEIGHT_PER;

const uint INPUTS = NORM == 1 ? PER / 4 : PER / ACT_PER; // 16-byte loads of PER inputs
const uint GAINS = NORM == 1 ? PER / 4 : 0;

// A lane's sums, then its subgroup's: of products by row and column, of squares by row,
// and of the adapters' part by row and column, which is apart where NORM has a factor for the rest.
const bool APART = NORM == 1 && ADAPTERS == 1;
const uint SQUARES = TM * COLUMNS, LORA = APART ? SQUARES + TM : 0, SUMS = SQUARES + TM * NORM + (APART ? SQUARES : 0);
float acc[SUMS];

// With SPLIT_K the sums of each subgroup, of at least four lanes.
shared float shares[SPLIT_K == 1 ? gl_WorkGroupSize.x / 4 * SUMS : 1];

// The lanes of a team.
uint lane() { return SPLIT_K == 1 ? gl_LocalInvocationID.x : gl_SubgroupInvocationID; }
uint lanes() { return SPLIT_K == 1 ? gl_WorkGroupSize.x : gl_SubgroupSize; }

// Batch is what a lane loads at a time.
struct Batch { uvec4 w[COLUMNS * DEPTH], x[TM * INPUTS * DEPTH], g[GAINS * DEPTH + 1]; };

uint row_of(uint i) { return min(gl_WorkGroupID.y * TM + i, rows - 1); }

// load starts the loads from position `from`, in units of PER, on.
void load(uint from, out Batch b) {
    [[unroll]] for (uint d = 0; d < DEPTH; d++) {
        const uint at = from + d * lanes();
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
    acc[SQUARES + i] += dot(a, a);
    return a * uintBitsToFloat(b.g[d * GAINS + q]);
}

void multiply(uint from, Batch b) {
    [[unroll]] for (uint d = 0; d < DEPTH; d++)
        if (from + d * lanes() < k / PER) {
            [[unroll]] for (uint q = 0; q < PER / 4; q++)
                [[unroll]] for (uint i = 0; i < TM; i++) {
                    const vec4 xk = input_of(b, i, d, q);
                    [[unroll]] for (uint c = 0; c < COLUMNS; c++)
                        acc[i * COLUMNS + c] += dot(xk, weight_of(b.w[d * COLUMNS + c], q));
                }
        }
}

#include "vector_expand.glsl"

// sum_up makes acc the lane's sums; the adapters are looked up on the way.
void sum_up() {
    const uint step = lanes() * DEPTH;
    Batch even, odd;
    load(lane(), even);
    [[unroll]] for (uint j = 0; j < SUMS; j++) acc[j] = 0;
    if (ADAPTERS != 0) look_up();
    // As many turns for all lanes; counted from the lane, since llvmpipe takes turns whose
    // number does not depend on it also where all lanes have returned.
    for (uint at = lane(); at < k / PER + lane(); at += 2 * step) {
        load(at + step, odd);
        multiply(at, even);
        load(at + 2 * step, even);
        multiply(at + step, odd);
    }
    if (ADAPTERS != 0)
        [[unroll]] for (uint i = 0; i < TM; i++)
            [[unroll]] for (uint c = 0; c < COLUMNS; c++) acc[LORA + i * COLUMNS + c] += expand(i, c / WIDE, c % WIDE);
}

// share makes acc the subgroup's sums, and shows them to the others of its team.
void share() {
    [[unroll]] for (uint j = 0; j < SUMS; j++) acc[j] = subgroupAdd(acc[j]);
    if (SPLIT_K == 0) return;
    if (gl_SubgroupInvocationID == 0)
        [[unroll]] for (uint j = 0; j < SUMS; j++) shares[gl_SubgroupID * SUMS + j] = acc[j];
    barrier();
}

// sum_of is the team's sum n, in the order of its subgroups.
float sum_of(uint n) {
    float s = 0;
    if (SPLIT_K == 1)
        for (uint i = 0; i < gl_NumSubgroups; i++) s += shares[i * SUMS + n];
    else
        [[unroll]] for (uint j = 0; j < SUMS; j++) s = j == n ? acc[j] : s;
    return s;
}

// product_of is what column c of row i of the tile comes to.
float product_of(uint i, uint c) {
    const float s = sum_of(i * COLUMNS + c);
    if (NORM == 0) return s;
    return s * inversesqrt(sum_of(SQUARES + i) / float(k) + eps) + (APART ? sum_of(LORA + i * COLUMNS + c) : 0.0);
}

vec2 products_of(uint i, uint c) { return vec2(product_of(i, c), product_of(i, c + 1)); }

// before is what Y has where the nth output of the tile goes, for ADD.
float before(uint n) { return EPILOGUE == ADD ? Floats(y).v[row_of(n / WIDE) * y_stride + part[0].offset + column_of(n % WIDE)] : 0.0; }

// finish_on is finish on top of an old value loaded ahead, for ADD.
void finish_on(uint m, uint c, float sum, float old) {
    if (m >= rows || column + c >= part[0].n) return;
    sum = settled(m, 0, c, sum);
    Floats(y).v[m * y_stride + part[0].offset + column + c] = EPILOGUE == ADD ? old + sum : sum;
}

void main() {
    if (!locate(SPLIT_K == 1 ? gl_WorkGroupID.x : gl_WorkGroupID.x * gl_NumSubgroups + gl_SubgroupID)) return;
    const float old = before(min(lane(), TM * WIDE - 1)); // loaded ahead: nothing is left to hide it behind the sums
    sum_up();
    share();
    // Each lane stores some, in columns told by its number: what is the same for all
    // lanes llvmpipe loads also where no lane wants it, a bias that is null.
    const uint first = gl_WorkGroupID.y * TM, step = GATED ? 2 : 1;
    for (uint n = lane() * step; n < TM * WIDE; n += lanes() * step) {
        const uint i = n / WIDE, c = n % WIDE;
        if (GATED)
            finish_gated(first + i, c, products_of(i, c), products_of(i, WIDE + c));
        else
            finish_on(first + i, c, product_of(i, c), n == lane() ? old : before(n));
    }
}
