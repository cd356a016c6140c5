#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// SMLM's gradients of the adapters' matrices for many rows, on cooperative
// matrices with 16-bit inputs and float32 sums: dA += U^T . X, dB += dY^T . V. A workgroup computes
// RANKS ranks by COLUMNS columns of one segment, part and matrix.
//
// As in lora_grad.comp the rows of a segment are cut into SHARES, each summed by
// subgroups of its own, DEEP rows at a time, staged in shared memory; then the shares are
// added in their order.
#include "storage.glsl"
#include "smlm.glsl"
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#pragma use_vulkan_memory_model

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint ACROSS = 4; // subgroups side by side, of WIDE columns each
layout(constant_id = 2) const uint SHARES = 4;
layout(constant_id = 3) const uint MM = 16;    // a matrix A is [MM, MK], B [MK, MN]
layout(constant_id = 4) const uint MN = 16;
layout(constant_id = 5) const uint MK = 16;
const uint WG = gl_WorkGroupSize.x, LANES = WG / SHARES, WIDE = 32, COLUMNS = ACROSS * WIDE, RANKS = 16, DEEP = 32;
const uint FM = RANKS / MM, FN = WIDE / MN;

layout(push_constant) uniform Push {
    ACT x;         // [rows, k]
    ACT dy;        // [rows, dy_stride], the parts side by side
    Parts parts;   // [count]
    F32 u;         // [rows, count, stride]
    F32 v;         // [rows, count, stride]
    Ints segments; // [.] of (first row, rows, slot)
    uint k, count, dy_stride, stride;
};

layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Eights { uvec4 v[]; };

// Rows of eights, and one more so that rows begin in other banks: of columns, and of ranks.
const uint LONG = COLUMNS / 8, ROW = LONG + 1, RANK_LONG = RANKS / 8, RANK_ROW = RANK_LONG + 1;
const uint SUM_ROW = RANKS / 4 + 1; // of the sums, by column
const uint STAGE = SHARES * DEEP * ROW, SUMS = SHARES * COLUMNS * SUM_ROW;
shared uvec4 wide[STAGE > SUMS ? STAGE : SUMS];
shared uvec4 thin[SHARES * DEEP * RANK_ROW];

const uint MOVES = DEEP * LONG / LANES, RANK_MOVES = (DEEP * RANK_LONG + LANES - 1) / LANES;
uvec4 next_wide[MOVES], next_thin[RANK_MOVES];
coopmat<float, gl_ScopeSubgroup, MM, MN, gl_MatrixUseAccumulator> acc[FM * FN];

// What the workgroup sums: columns of `from`, weighted by ranks of `by`.
Part part;
Slot s;
bool of_a;
uint number, column, rank, columns, row_width, base; // base: where the columns of row 0 start

uint groups(uint n) { return (n + COLUMNS - 1) / COLUMNS; }

// locate finds the workgroup's part; first come all parts' blocks of dA, then of dB.
void locate() {
    uint group = gl_WorkGroupID.x, one = groups(parts.v[0].n), two = one + groups(parts.v[min(1, count - 1)].n);
    of_a = group < count * groups(k);
    if (of_a) {
        number = group / groups(k);
        group %= groups(k);
    } else {
        group -= count * groups(k);
        number = uint(count > 1 && group >= one) + uint(count > 2 && group >= two);
        group -= number == 0 ? 0 : number == 1 ? one : two;
    }
    part = parts.v[number];
    column = group * COLUMNS;
    rank = gl_WorkGroupID.y * RANKS;
    columns = of_a ? k : part.n;
    row_width = of_a ? k : dy_stride;
    base = of_a ? 0 : part.offset;
}

uvec4 wide_eight(uint row, bool live, uint eight) {
    if (!live || column + eight >= columns) return uvec4(0);
    const uvec2 from = of_a ? uvec2(x) : uvec2(dy);
    return Eights(from).v[(row * row_width + base + column + eight) / 8];
}

uvec4 thin_eight(uint row, bool live, uint eight) {
    const uint at = (row * count + number) * stride + rank + eight;
    F32 by = F32(of_a ? uvec2(u) : uvec2(v));
    uvec4 bits = uvec4(0);
    if (live && rank + eight < s.rank) bits.xy = pack_act(load_f32(by, at));
    if (live && rank + eight + 4 < s.rank) bits.zw = pack_act(load_f32(by, at + 4));
    return bits;
}

// fetch loads DEEP rows of the lane's share from `row` on, with zeros behind `last`.
void fetch(uint row, uint last) {
    const uint lane = gl_LocalInvocationIndex % LANES;
    [[unroll]] for (uint i = 0; i < MOVES; i++) {
        const uint e = lane + i * LANES, at = row + e / LONG;
        next_wide[i] = wide_eight(at, at < last, e % LONG * 8);
    }
    [[unroll]] for (uint i = 0; i < RANK_MOVES; i++) {
        const uint e = lane + i * LANES, at = row + e / RANK_LONG;
        next_thin[i] = thin_eight(at, at < last && e < DEEP * RANK_LONG, e % RANK_LONG * 8);
    }
}

void put() {
    const uint lane = gl_LocalInvocationIndex % LANES, first = gl_LocalInvocationIndex / LANES * DEEP;
    [[unroll]] for (uint i = 0; i < MOVES; i++) {
        const uint e = lane + i * LANES;
        wide[(first + e / LONG) * ROW + e % LONG] = next_wide[i];
    }
    [[unroll]] for (uint i = 0; i < RANK_MOVES; i++) {
        const uint e = lane + i * LANES;
        if (e < DEEP * RANK_LONG) thin[(first + e / RANK_LONG) * RANK_ROW + e % RANK_LONG] = next_thin[i];
    }
}

void multiply() {
    const uint first = gl_SubgroupID / ACROSS * DEEP, from = gl_SubgroupID % ACROSS * WIDE;
    [[unroll]] for (uint step = 0; step < DEEP; step += MK) {
        coopmat<float16_t, gl_ScopeSubgroup, MM, MK, gl_MatrixUseA> a[FM];
        coopmat<float16_t, gl_ScopeSubgroup, MK, MN, gl_MatrixUseB> b[FN];
        [[unroll]] for (uint i = 0; i < FM; i++)
            coopMatLoad(a[i], thin, (first + step) * RANK_ROW + i * MM / 8, RANK_ROW, gl_CooperativeMatrixLayoutColumnMajor);
        [[unroll]] for (uint j = 0; j < FN; j++)
            coopMatLoad(b[j], wide, (first + step) * ROW + (from + j * MN) / 8, ROW, gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint i = 0; i < FM; i++)
            [[unroll]] for (uint j = 0; j < FN; j++) acc[i * FN + j] = coopMatMulAdd(a[i], b[j], acc[i * FN + j]);
    }
}

void product() {
    const uint start = uint(segments.v[gl_WorkGroupID.z * 3]), all = uint(segments.v[gl_WorkGroupID.z * 3 + 1]);
    const uint each = (all + SHARES - 1) / SHARES, from = min(gl_LocalInvocationIndex / LANES * each, all), last = start + min(from + each, all);
    [[unroll]] for (uint i = 0; i < FM * FN; i++) acc[i] = coopmat<float, gl_ScopeSubgroup, MM, MN, gl_MatrixUseAccumulator>(0.0);
    fetch(start + from, last);
    [[dont_unroll]] for (uint row = 0; row < each; row += DEEP) {
        barrier();
        put();
        barrier();
        fetch(start + from + row + DEEP, last);
        multiply();
    }
}

// spread leaves the sums where sum_of finds them, by column.
void spread() {
    const uint first = gl_SubgroupID / ACROSS * COLUMNS + gl_SubgroupID % ACROSS * WIDE;
    barrier();
    [[unroll]] for (uint i = 0; i < FM; i++)
        [[unroll]] for (uint j = 0; j < FN; j++)
            coopMatStore(acc[i * FN + j], wide, (first + j * MN) * SUM_ROW + i * MM / 4, SUM_ROW, gl_CooperativeMatrixLayoutColumnMajor);
    barrier();
}

// sum_of is four ranks of a column.
vec4 sum_of(uint c, uint quad) {
    vec4 sum = vec4(0);
    for (uint n = 0; n < SHARES; n++) sum += uintBitsToFloat(wide[(n * COLUMNS + c) * SUM_ROW + quad]);
    return sum;
}

void main() {
    locate();
    s = part.slots.v[segments.v[gl_WorkGroupID.z * 3 + 2]];
    if (IS_NULL(s.da) || rank >= s.rank) return; // all or none
    product();
    spread();
    for (uint e = gl_LocalInvocationIndex; e < COLUMNS * RANKS / 4; e += WG) {
        // Neighbours lie side by side in dA along its columns, in dB along its ranks.
        const uint c = of_a ? e % COLUMNS : e / (RANKS / 4), quad = of_a ? e / COLUMNS : e % (RANKS / 4);
        if (column + c >= columns || rank + quad * 4 >= s.rank) continue;
        const vec4 sum = sum_of(c, quad);
        if (of_a) {
            for (uint j = 0; j < 4; j++) Floats(uvec2(s.da)).v[(rank + quad * 4 + j) * k + column + c] += sum[j];
        } else {
            const uint at = (column + c) * s.rank + rank + quad * 4;
            store_f32(s.db, at, load_f32(s.db, at) + sum);
        }
    }
}
