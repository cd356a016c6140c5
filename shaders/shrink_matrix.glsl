// The shrinks of many rows on cooperative matrices, with 16-bit inputs and
// float32 sums: ROWS rows of one adapter by RANKS ranks of one part. A workgroup goes
// through what is summed up in slabs, staged in shared memory; each of its
// subgroups multiplies DEEP of a slab, and in the end their sums are added in their order.
//
// A kernel gives the loads, of eight numbers, as bits, with zeros where there
// are none: of row i of the tile from number `at` on, and of what rows are multiplied
// with, row i of it from its `eight` on, in the slab that starts at `at`.
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#pragma use_vulkan_memory_model

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint SUBGROUPS = 8;
layout(constant_id = 2) const uint DEEP = 64;
layout(constant_id = 3) const uint MM = 16; // a matrix A is [MM, MK], B [MK, MN]
layout(constant_id = 4) const uint MN = 16;
layout(constant_id = 5) const uint MK = 16;
const uint WG = gl_WorkGroupSize.x, ROWS = 16, RANKS = 16, FM = ROWS / MM, FN = RANKS / MN;
const uint SLAB = SUBGROUPS * DEEP;

// Rows of eights, and one more so that rows begin in other banks.
const uint LONG = SLAB / 8, ROW = LONG + 1, OUT_ROW = RANKS / 4;
#ifdef FACTOR_BY_ROWS // staged as [SLAB, RANKS], otherwise as [RANKS, SLAB]
const uint FACTORS = SLAB, FACTOR_LONG = RANKS / 8;
#else
const uint FACTORS = RANKS, FACTOR_LONG = LONG;
#endif
const uint FACTOR_ROW = FACTOR_LONG + 1, OUT = SUBGROUPS * ROWS * OUT_ROW, STAGE = ROWS * ROW;
shared uvec4 stage[STAGE > OUT ? STAGE : OUT];
shared uvec4 factors[FACTORS * FACTOR_ROW];

const uint MOVES = ROWS * LONG / WG, FACTOR_MOVES = FACTORS * FACTOR_LONG / WG;
uvec4 next[MOVES], next_factor[FACTOR_MOVES];

coopmat<float, gl_ScopeSubgroup, MM, MN, gl_MatrixUseAccumulator> acc[FM * FN];

layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Eights { uvec4 v[]; };


uvec4 row_eight(uint i, uint at);
uvec4 factor_eight(uint i, uint eight, uint at);

void fetch(uint at) {
    const uint me = gl_LocalInvocationIndex;
    [[unroll]] for (uint i = 0; i < MOVES; i++) next[i] = row_eight((me + i * WG) / LONG, at + (me + i * WG) % LONG * 8);
    [[unroll]] for (uint i = 0; i < FACTOR_MOVES; i++)
        next_factor[i] = factor_eight((me + i * WG) / FACTOR_LONG, (me + i * WG) % FACTOR_LONG * 8, at);
}

void put() {
    const uint me = gl_LocalInvocationIndex;
    [[unroll]] for (uint i = 0; i < MOVES; i++) stage[(me + i * WG) / LONG * ROW + (me + i * WG) % LONG] = next[i];
    [[unroll]] for (uint i = 0; i < FACTOR_MOVES; i++)
        factors[(me + i * WG) / FACTOR_LONG * FACTOR_ROW + (me + i * WG) % FACTOR_LONG] = next_factor[i];
}

void multiply() {
    [[unroll]] for (uint step = 0; step < DEEP / MK; step++) {
        const uint kk = gl_SubgroupID * DEEP + step * MK;
        coopmat<float16_t, gl_ScopeSubgroup, MM, MK, gl_MatrixUseA> a[FM];
        coopmat<float16_t, gl_ScopeSubgroup, MK, MN, gl_MatrixUseB> b[FN];
        [[unroll]] for (uint i = 0; i < FM; i++)
            coopMatLoad(a[i], stage, i * MM * ROW + kk / 8, ROW, gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint j = 0; j < FN; j++) {
#ifdef FACTOR_BY_ROWS
            coopMatLoad(b[j], factors, kk * FACTOR_ROW + j * MN / 8, FACTOR_ROW, gl_CooperativeMatrixLayoutRowMajor);
#else
            coopMatLoad(b[j], factors, j * MN * FACTOR_ROW + kk / 8, FACTOR_ROW, gl_CooperativeMatrixLayoutColumnMajor);
#endif
        }
        [[unroll]] for (uint i = 0; i < FM; i++)
            [[unroll]] for (uint j = 0; j < FN; j++) acc[i * FN + j] = coopMatMulAdd(a[i], b[j], acc[i * FN + j]);
    }
}

// product sums over `deep` numbers; afterwards sum_of has the results.
void product(uint deep) {
    [[unroll]] for (uint i = 0; i < FM * FN; i++) acc[i] = coopmat<float, gl_ScopeSubgroup, MM, MN, gl_MatrixUseAccumulator>(0.0);
    fetch(0);
    [[dont_unroll]] for (uint at = 0; at < deep; at += SLAB) {
        barrier();
        put();
        barrier();
        fetch(at + SLAB);
        multiply();
    }
    barrier();
    [[unroll]] for (uint i = 0; i < FM; i++)
        [[unroll]] for (uint j = 0; j < FN; j++)
            coopMatStore(acc[i * FN + j], stage, (gl_SubgroupID * ROWS + i * MM) * OUT_ROW + j * MN / 4, OUT_ROW, gl_CooperativeMatrixLayoutRowMajor);
    barrier();
}

// sum_of is four ranks of a row.
vec4 sum_of(uint row, uint quad) {
    vec4 sum = vec4(0);
    for (uint s = 0; s < SUBGROUPS; s++) sum += uintBitsToFloat(stage[(s * ROWS + row) * OUT_ROW + quad]);
    return sum;
}
