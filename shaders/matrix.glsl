// A tile of a matrix product on subgroups' cooperative matrices, with 16-bit
// inputs and float32 sums: [BM, BN] += A [BM, BK] . B [BK, BN], over and over.
//
// Both operands are staged in shared memory. While a piece of BK is multiplied
// the next one is on its way into registers. Each subgroup keeps the sums of WM by
// WN of the tile in its matrices; where BM / WM * BN / WN subgroups are too few
// to keep a processor busy, WK of them share a part, each with its share of every
// BK, and are added up at the end.
//
// A kernel gives the loads: load_a(i, kk) and load_b(i, kk) are eight numbers,
// as bits, of the invocation's ith row (of B: column) of the tile, from position kk on.
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#pragma use_vulkan_memory_model

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint BM = 128;
layout(constant_id = 2) const uint BN = 128;
layout(constant_id = 3) const uint BK = 64;
layout(constant_id = 4) const uint WM = 64;
layout(constant_id = 5) const uint WN = 64;
layout(constant_id = 6) const uint WK = 2;
layout(constant_id = 7) const uint MM = 16; // a matrix A is [MM, MK], B [MK, MN]
layout(constant_id = 8) const uint MN = 16;
layout(constant_id = 9) const uint MK = 16;
const uint WG = gl_WorkGroupSize.x;
const uint FM = WM / MM, FN = WN / MN, ACROSS = BM / WM, ALONG = BN / WN;

// Rows of eight numbers, and eight more so that rows begin in other banks.
const uint A_ROW = BK / 8 + 1;
#ifdef B_BY_ROWS // staged as [BK, BN], otherwise as [BN, BK]
const uint B_ROWS = BK, B_LONG = BN / 8;
const int B_LAYOUT = gl_CooperativeMatrixLayoutRowMajor;
#else
const uint B_ROWS = BN, B_LONG = BK / 8;
const int B_LAYOUT = gl_CooperativeMatrixLayoutColumnMajor;
#endif
const uint B_ROW = B_LONG + 1;
// The finished tile leaves through the same memory, by pieces of MM rows of
// every subgroup, float32; of each share of K in an array of its own.
const uint OUT_ROW = BN / 4 + 1, PIECE = ACROSS * MM;
const uint OUT = PIECE * OUT_ROW, A_STAGE = BM * A_ROW, B_STAGE = B_ROWS * B_ROW, B_OUT = OUT * (WK - 1);
shared uvec4 stage_a[A_STAGE > OUT ? A_STAGE : OUT];
shared uvec4 stage_b[B_STAGE > B_OUT ? B_STAGE : B_OUT];

// An invocation moves every SWEEP_Ath row of A, the same eight of each.
const uint SWEEP_A = WG / (BK / 8), MOVES_A = BM / SWEEP_A;
const uint SWEEP_B = WG / B_LONG, MOVES_B = B_ROWS / SWEEP_B;
uvec4 next_a[MOVES_A], next_b[MOVES_B];

coopmat<float, gl_ScopeSubgroup, MM, MN, gl_MatrixUseAccumulator> acc[FM * FN];

uint a_row(uint i) { return gl_LocalInvocationIndex / (BK / 8) + i * SWEEP_A; }
uint a_eight() { return gl_LocalInvocationIndex % (BK / 8) * 8; }
uint b_row(uint i) { return gl_LocalInvocationIndex / B_LONG + i * SWEEP_B; }
uint b_eight() { return gl_LocalInvocationIndex % B_LONG * 8; }

// The subgroup's place in the tile.
uint sub_m() { return gl_SubgroupID % ACROSS * WM; }
uint sub_n() { return gl_SubgroupID / ACROSS % ALONG * WN; }
uint sub_k() { return gl_SubgroupID / (ACROSS * ALONG); }

void clear() {
    [[unroll]] for (uint i = 0; i < FM * FN; i++)
        acc[i] = coopmat<float, gl_ScopeSubgroup, MM, MN, gl_MatrixUseAccumulator>(0.0);
}

void put_a(uint i, uvec4 eight) { stage_a[a_row(i) * A_ROW + a_eight() / 8] = eight; }
void put_b(uint i, uvec4 eight) { stage_b[b_row(i) * B_ROW + b_eight() / 8] = eight; }

// multiply adds the product of what is staged.
void multiply() {
    const uint from = sub_k() * (BK / MK / WK);
    [[unroll]] for (uint step = 0; step < BK / MK / WK; step++) {
        const uint kk = (from + step) * MK;
        coopmat<float16_t, gl_ScopeSubgroup, MM, MK, gl_MatrixUseA> a[FM];
        coopmat<float16_t, gl_ScopeSubgroup, MK, MN, gl_MatrixUseB> b[FN];
        [[unroll]] for (uint i = 0; i < FM; i++)
            coopMatLoad(a[i], stage_a, (sub_m() + i * MM) * A_ROW + kk / 8, A_ROW, gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint j = 0; j < FN; j++) {
#ifdef B_BY_ROWS
            coopMatLoad(b[j], stage_b, kk * B_ROW + (sub_n() + j * MN) / 8, B_ROW, B_LAYOUT);
#else
            coopMatLoad(b[j], stage_b, (sub_n() + j * MN) * B_ROW + kk / 8, B_ROW, B_LAYOUT);
#endif
        }
        [[unroll]] for (uint i = 0; i < FM; i++)
            [[unroll]] for (uint j = 0; j < FN; j++) acc[i * FN + j] = coopMatMulAdd(a[i], b[j], acc[i * FN + j]);
    }
}

// piece puts rows i * MM on of the subgroups' parts where sum_of finds them.
void piece(uint i) {
    const uint at = gl_SubgroupID % ACROSS * MM * OUT_ROW + sub_n() / 4;
    barrier();
    [[unroll]] for (uint j = 0; j < FN; j++) {
        if (sub_k() == 0) coopMatStore(acc[i * FN + j], stage_a, at + j * MN / 4, OUT_ROW, gl_CooperativeMatrixLayoutRowMajor);
        else coopMatStore(acc[i * FN + j], stage_b, at + j * MN / 4, OUT_ROW, gl_CooperativeMatrixLayoutRowMajor);
    }
    barrier();
}

// sum_of is four finished sums of row r of the piece, from column c on.
vec4 sum_of(uint r, uint c) {
    vec4 sum = uintBitsToFloat(stage_a[r * OUT_ROW + c / 4]);
    return WK > 1 ? sum + uintBitsToFloat(stage_b[r * OUT_ROW + c / 4]) : sum;
}

// piece_row is the row of the tile that row r of piece i is.
uint piece_row(uint i, uint r) { return r / MM * WM + i * MM + r % MM; }

// Tiles are walked in bands of BAND rows of tiles, so that what runs at a time
// shares its inputs in the cache. across and along are the numbers of tiles.
const uint BAND = 8;
uvec2 tile_of(uint number, uint across, uint along) {
    const uint band = number / (BAND * along), high = min(BAND, across - band * BAND);
    const uint at = number - band * BAND * along;
    return uvec2(band * BAND + at % high, at / high);
}
