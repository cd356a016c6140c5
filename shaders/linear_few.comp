#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#pragma use_vulkan_memory_model
// The linear product for up to some dozens of rows on a GPU with cooperative
// matrices, where the bound is reading W: Y = X . W^T as in linear.comp, LoRA expand and
// epilogues fused in.
//
// A workgroup computes BM rows of BN outputs over its share of K. It walks K in
// stages of BK: while it multiplies one in shared memory, the next two are on their
// way to registers, 16 bytes a load. Where the outputs
// alone do not fill the device, `splits` workgroups share a tile's K, and the last
// one to finish adds up the parts, in their order.
//
// The adapters' part is no matrix product: each row has its own B, read once from
// memory and, by rows of the same adapter, from the cache.
#include "storage.glsl"
#include "smlm.glsl"
#include "sixteen.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint BM = 16;
layout(constant_id = 2) const uint BN = 64;
layout(constant_id = 3) const uint EPILOGUE = 0;
layout(constant_id = 4) const uint BK = 64;
layout(constant_id = 5) const uint ADAPTERS = 0; // 1: some row may have one
layout(constant_id = 6) const uint ACROSS = 4;   // subgroups side by side over the outputs; the others share K
layout(constant_id = 7) const uint SUBGROUP = 32;
layout(constant_id = 8) const uint FM = 16;      // a matrix of the device: FM x FN sums over FK
layout(constant_id = 9) const uint FN = 16;
layout(constant_id = 10) const uint FK = 16;
const uint COLUMNS = BN;

#include "product.glsl"

const uint WG = gl_WorkGroupSize.x, DEEP = WG / SUBGROUP / ACROSS; // subgroups over K
const uint HIGH = BM / FM, ALONG = BN / FN / ACROSS;               // matrices of a subgroup
const uint PER = 8;                                                // numbers in 16 bytes
const uint LINE = BK / PER + 1;                                    // of shared memory, padded against bank conflicts
const uint W_LOADS = (BN * BK / PER + WG - 1) / WG, X_LOADS = (BM * BK / PER + WG - 1) / WG;
const uint QUADS = BN / 4, OUT_LINE = QUADS + 1, OUT = BM * OUT_LINE; // the sums, by four
const uint STAGE = (BM + BN) * LINE;
const uint AT_ONCE = 8; // outputs of a lane in expand

shared uvec4 stage[STAGE > DEEP * OUT ? STAGE : DEEP * OUT]; // X, then W; in the end the sums
shared bool merges;
shared uvec2 b_of[ADAPTERS != 0 ? BM * HALVES : 1]; // where the rows' adapters have their B
shared uint rank_of[ADAPTERS != 0 ? BM * HALVES : 1];
coopmat<float, gl_ScopeSubgroup, FM, FN, gl_MatrixUseAccumulator> acc[HIGH * ALONG];

// Stage is what a lane loads of one.
struct Stage { uvec4 w[W_LOADS], x[X_LOADS]; };

// fetch starts the loads of the stage at position `from` of K, up to `end`.
void fetch(uint from, uint end, out Stage s) {
    const uint lane = gl_LocalInvocationID.x;
    [[unroll]] for (uint i = 0; i < W_LOADS; i++) {
        const uint at = lane + i * WG, c = at / (BK / PER), kk = from + at % (BK / PER) * PER;
        s.w[i] = kk < end && c < BN ? Sixteen(part[c / WIDE].w).v[(column_of(c) * k + kk) / PER] : uvec4(0);
    }
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
        const uint at = lane + i * WG, m = at / (BK / PER), kk = from + at % (BK / PER) * PER;
        s.x[i] = kk < end && m < BM ? Sixteen(x).v[(min(gl_WorkGroupID.y * BM + m, rows - 1) * k + kk) / PER] : uvec4(0);
    }
}

// settle puts what fetch loaded into shared memory.
void settle(Stage s) {
    const uint lane = gl_LocalInvocationID.x;
    barrier();
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
        const uint at = lane + i * WG;
        if (at < BM * BK / PER) stage[at / (BK / PER) * LINE + at % (BK / PER)] = s.x[i];
    }
    [[unroll]] for (uint i = 0; i < W_LOADS; i++) {
        const uint at = lane + i * WG;
        if (at < BN * BK / PER) stage[(BM + at / (BK / PER)) * LINE + at % (BK / PER)] = s.w[i];
    }
    barrier();
}

void multiply(uint across, uint deep) {
    coopmat<float16_t, gl_ScopeSubgroup, FM, FK, gl_MatrixUseA> a[HIGH];
    coopmat<float16_t, gl_ScopeSubgroup, FK, FN, gl_MatrixUseB> b;
    [[unroll]] for (uint kk = 0; kk < BK / DEEP; kk += FK) {
        const uint at = (deep * (BK / DEEP) + kk) / PER;
        [[unroll]] for (uint i = 0; i < HIGH; i++)
            coopMatLoad(a[i], stage, i * FM * LINE + at, LINE, gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint j = 0; j < ALONG; j++) {
            coopMatLoad(b, stage, (BM + (across * ALONG + j) * FN) * LINE + at, LINE, gl_CooperativeMatrixLayoutColumnMajor);
            [[unroll]] for (uint i = 0; i < HIGH; i++)
                acc[i * ALONG + j] = coopMatMulAdd(a[i], b, acc[i * ALONG + j]);
        }
    }
}

// lay puts the sums into shared memory.
void lay(uint across, uint deep) {
    [[unroll]] for (uint i = 0; i < HIGH; i++)
        [[unroll]] for (uint j = 0; j < ALONG; j++)
            coopMatStore(acc[i * ALONG + j], stage, deep * OUT + i * FM * OUT_LINE + (across * ALONG + j) * FN / 4, OUT_LINE,
                gl_CooperativeMatrixLayoutRowMajor);
}

// laid is four sums of a row.
vec4 laid(uint m, uint quad) {
    vec4 s = vec4(0);
    for (uint d = 0; d < DEEP; d++) s += uintBitsToFloat(stage[d * OUT + m * OUT_LINE + quad]);
    return s;
}

// look_up notes where the adapters of the tile's rows lie.
void look_up(uint first) {
    for (uint i = gl_LocalInvocationID.x; i < BM * HALVES; i += WG) {
        const uint m = first + i % BM;
        const int slot = m < rows ? slots.v[m] : -1;
        rank_of[i] = 0;
        if (slot < 0) continue;
        Slot s = part[i / BM].slots.v[slot];
        b_of[i] = uvec2(s.b);
        rank_of[i] = IS_NULL(s.b) ? 0 : s.rank;
    }
}

// expand adds the adapters' part to the sums of the split's rows, a lane one
// output of AT_ONCE rows at a time, so that many loads of B are under way.
void expand(uint first, uint split) {
    const uint mine = split < BM ? (BM - split + splits - 1) / splits : 0; // rows
    for (uint from = gl_LocalInvocationID.x; from < mine * BN; from += AT_ONCE * WG) {
        uint at[AT_ONCE], rank[AT_ONCE], in_v[AT_ONCE], in_b[AT_ONCE], most = 0;
        uvec2 b[AT_ONCE];
        float sum[AT_ONCE];
        [[unroll]] for (uint j = 0; j < AT_ONCE; j++) {
            const uint i = min(from + j * WG, mine * BN - 1), m = i / BN * splits + split, c = i % BN, h = c / WIDE;
            at[j] = m * BN + c;
            rank[j] = from + j * WG < mine * BN ? rank_of[h * BM + m] : 0;
            b[j] = b_of[h * BM + m];
            in_v[j] = ((first + m) * count + number + h) * v_stride;
            in_b[j] = column_of(c) * rank[j];
            most = max(most, rank[j]);
            sum[j] = 0;
        }
        for (uint r = 0; r < most; r += 4) {
            vec4 x[AT_ONCE], y[AT_ONCE]; // all loads before the first product
            [[unroll]] for (uint j = 0; j < AT_ONCE; j++) {
                x[j] = r < rank[j] ? load_f32(v, in_v[j] + r) : vec4(0);
                y[j] = r < rank[j] ? load_act(ACT(b[j]), in_b[j] + r) : vec4(0);
            }
            [[unroll]] for (uint j = 0; j < AT_ONCE; j++) sum[j] += dot(x[j], y[j]);
        }
        [[unroll]] for (uint j = 0; j < AT_ONCE; j++) {
            if (rank[j] == 0) continue;
            const uint quad = at[j] / BN * OUT_LINE + at[j] % BN / 4, c = at[j] % 4;
            stage[quad][c] = floatBitsToUint(uintBitsToFloat(stage[quad][c]) + sum[j]);
        }
    }
    barrier();
}

// last_to_finish tells whether this workgroup is the last of its tile's.
bool last_to_finish(uint tile) {
    memoryBarrierBuffer();
    barrier();
    if (gl_LocalInvocationID.x == 0) {
        merges = atomicAdd(counters.v[tile], 1u) == splits - 1;
        if (merges) counters.v[tile] = 0; // ready for the next dispatch
    }
    barrier();
    memoryBarrierBuffer();
    return merges;
}

// merged is four sums of all splits; own where there is only one.
vec4 merged(uint tile, uint at, vec4 own) {
    if (splits == 1) return own;
    vec4 s = vec4(0);
    for (uint z = 0; z < splits; z++) s += sums.v[(tile * splits + z) * BM * QUADS + at];
    return s;
}

void store(uint m, uint quad, vec4 s) {
    for (uint i = 0; i < 4; i++) finish(m, quad * 4 + i, s[i]);
}

void main() {
    const uint lane = gl_LocalInvocationID.x, split = gl_WorkGroupID.z;
    const uint across = gl_SubgroupID % ACROSS, deep = gl_SubgroupID / ACROSS;
    if (!locate(gl_WorkGroupID.x)) return;
    const uint share = ((k + BK - 1) / BK + splits - 1) / splits * BK, from = split * share, end = min(from + share, k);
    Stage even, odd;
    fetch(from, end, even);
    fetch(from + BK, end, odd);
    if (ADAPTERS != 0) look_up(gl_WorkGroupID.y * BM);
    [[unroll]] for (uint i = 0; i < HIGH * ALONG; i++)
        acc[i] = coopmat<float, gl_ScopeSubgroup, FM, FN, gl_MatrixUseAccumulator>(0.0);
    [[dont_unroll]] for (uint at = from; at < end; at += 2 * BK) {
        settle(even);
        fetch(at + 2 * BK, end, even);
        multiply(across, deep);
        if (at + BK >= end) break;
        settle(odd);
        fetch(at + 3 * BK, end, odd);
        multiply(across, deep);
    }
    barrier();
    lay(across, deep);
    barrier();
    const uint first = gl_WorkGroupID.y * BM;
    if (ADAPTERS != 0) expand(first, split);
    const uint tile = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    for (uint at = lane; at < BM * QUADS; at += WG) {
        const uint m = at / QUADS, quad = at % QUADS;
        const vec4 s = laid(m, quad);
        if (splits > 1) sums.v[(tile * splits + split) * BM * QUADS + at] = s;
        else stage[m * OUT_LINE + quad] = floatBitsToUint(s);
    }
    if (splits > 1 && !last_to_finish(tile)) return;
    barrier();
    const uint outs = QUADS / HALVES; // quads of outputs
    for (uint at = lane; at < BM * outs; at += WG) {
        const uint m = at / outs, quad = at % outs;
        vec4 s[HALVES];
        [[unroll]] for (uint h = 0; h < HALVES; h++)
            s[h] = merged(tile, m * QUADS + h * outs + quad, uintBitsToFloat(stage[m * OUT_LINE + h * outs + quad]));
        if (!GATED) store(first + m, quad, s[0]);
        else {
            finish_gated(first + m, quad * 4, s[0].xy, s[HALVES - 1].xy);
            finish_gated(first + m, quad * 4 + 2, s[0].zw, s[HALVES - 1].zw);
        }
    }
}
