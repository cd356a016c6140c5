#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#pragma use_vulkan_memory_model
layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint BM = 128;
layout(constant_id = 2) const uint BN = 128;
layout(constant_id = 3) const uint BK = 32;
layout(constant_id = 4) const uint WM = 64;
layout(constant_id = 5) const uint WN = 64;
layout(constant_id = 6) const uint T = 16;
layout(constant_id = 7) const uint SWIZZLE = 8;
layout(constant_id = 8) const uint PAD = 1;
layout(constant_id = 9) const uint WK = 1; // groups of subgroups that share a tile's K
const uint WG = gl_WorkGroupSize.x;
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Raw { uvec4 v[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Out { float v[]; };
layout(push_constant) uniform Push { Raw x; Raw w; Out y; uint m, n, k; };

const uint ROW = BK / 8 + PAD;   // uvec4 of a staged row
const uint QA = BM * BK / 8 / WG, QB = BN * BK / 8 / WG;
const uint FM = WM / T, FN = WN / T;
shared uvec4 as[STAGES][BM * ROW];
shared uvec4 bs[STAGES][BN * ROW];
shared float sums[WK > 1 ? (BM / WM) * (BN / WN) * (WN / T) * T * T : 1];

coopmat<float, gl_ScopeSubgroup, T, T, gl_MatrixUseAccumulator> acc[FM * FN];
uvec4 ra[QA], rb[QB];
uint ax, bx; // this invocation's first uvec4 of X and W
uint sa;     // and in shared memory

uint wk;
const uint LANES = BK / 8;       // invocations along a row
const uint STEP = WG / LANES;    // rows a sweep

void fetch(uint kk) {
    [[unroll]] for (uint i = 0; i < QA; i++) ra[i] = x.v[ax + i * STEP * (k / 8) + kk / 8];
    [[unroll]] for (uint i = 0; i < QB; i++) rb[i] = w.v[bx + i * STEP * (k / 8) + kk / 8];
}
void stage(uint s) {
    [[unroll]] for (uint i = 0; i < QA; i++) as[s][sa + i * STEP * ROW] = ra[i];
    [[unroll]] for (uint i = 0; i < QB; i++) bs[s][sa + i * STEP * ROW] = rb[i];
}
void multiply(uint s, uint wm, uint wn) {
    [[unroll]] for (uint step = 0; step < BK / T / WK; step++) {
        const uint kk = step + wk * (BK / T / WK);
        coopmat<float16_t, gl_ScopeSubgroup, T, T, gl_MatrixUseA> a[FM];
        [[unroll]] for (uint i = 0; i < FM; i++) coopMatLoad(a[i], as[s], (wm + i * T) * ROW + kk * T / 8, ROW, gl_CooperativeMatrixLayoutRowMajor);
#ifdef BFIRST
        coopmat<float16_t, gl_ScopeSubgroup, T, T, gl_MatrixUseB> b[FN];
        [[unroll]] for (uint j = 0; j < FN; j++) coopMatLoad(b[j], bs[s], (wn + j * T) * ROW + kk * T / 8, ROW, gl_CooperativeMatrixLayoutColumnMajor);
        [[unroll]] for (uint j = 0; j < FN; j++)
            [[unroll]] for (uint i = 0; i < FM; i++) acc[i * FN + j] = coopMatMulAdd(a[i], b[j], acc[i * FN + j]);
#else
        [[unroll]] for (uint j = 0; j < FN; j++) {
            coopmat<float16_t, gl_ScopeSubgroup, T, T, gl_MatrixUseB> b;
            coopMatLoad(b, bs[s], (wn + j * T) * ROW + kk * T / 8, ROW, gl_CooperativeMatrixLayoutColumnMajor);
            [[unroll]] for (uint i = 0; i < FM; i++) acc[i * FN + j] = coopMatMulAdd(a[i], b, acc[i * FN + j]);
        }
#endif
    }
}

void main() {
    const uint t = gl_LocalInvocationIndex, sub = gl_SubgroupID;
    // groups of SWIZZLE tile rows are walked column by column, for L2
    uint tm = (m + BM - 1) / BM, tn = n / BN;
    uint id = gl_WorkGroupID.x;
    uint band = id / (SWIZZLE * tn), high = min(SWIZZLE, tm - band * SWIZZLE);
    uint in_band = id - band * SWIZZLE * tn;
    uint row = (band * SWIZZLE + in_band % high) * BM, col = (in_band / high) * BN;
    const uint wm = (sub % (BM / WM)) * WM, wn = (sub / (BM / WM)) % (BN / WN) * WN;
    wk = sub / ((BM / WM) * (BN / WN));
    ax = (row + t / LANES) * (k / 8) + t % LANES;
    bx = (col + t / LANES) * (k / 8) + t % LANES;
    sa = (t / LANES) * ROW + t % LANES;
    [[unroll]] for (uint i = 0; i < FM * FN; i++) acc[i] = coopmat<float, gl_ScopeSubgroup, T, T, gl_MatrixUseAccumulator>(0.0);
    fetch(0);
#if STAGES == 1
    [[dont_unroll]] for (uint kk = 0; kk < k; kk += BK) {
        barrier();
        stage(0);
        barrier();
        fetch(min(kk + BK, k - BK));
        multiply(0, wm, wn);
    }
#else
    stage(0);
    fetch(BK);
    [[dont_unroll]] for (uint kk = 0; kk < k; kk += 2 * BK) {
        barrier();
        stage(1);
        fetch(min(kk + 2 * BK, k - BK));
        multiply(0, wm, wn);
        barrier();
        stage(0);
        fetch(min(kk + 3 * BK, k - BK));
        multiply(1, wm, wn);
    }
#endif
    if (WK > 1) {
        const uint at = sub % ((BM / WM) * (BN / WN)) * FN;
        [[unroll]] for (uint i = 0; i < FM; i++) {
            barrier();
            if (wk == 1) [[unroll]] for (uint j = 0; j < FN; j++) coopMatStore(acc[i * FN + j], sums, (at + j) * T * T, T, gl_CooperativeMatrixLayoutRowMajor);
            barrier();
            if (wk == 0) [[unroll]] for (uint j = 0; j < FN; j++) {
                coopmat<float, gl_ScopeSubgroup, T, T, gl_MatrixUseAccumulator> other;
                coopMatLoad(other, sums, (at + j) * T * T, T, gl_CooperativeMatrixLayoutRowMajor);
                acc[i * FN + j] += other;
            }
        }
        if (wk == 1) return;
    }
    [[unroll]] for (uint i = 0; i < FM; i++)
        [[unroll]] for (uint j = 0; j < FN; j++)
            coopMatStore(acc[i * FN + j], y.v, (row + wm + i * T) * n + col + wn + j * T, n, gl_CooperativeMatrixLayoutRowMajor);
}
