#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// The linear product of linear.comp for many rows on a workgroup's cooperative
// matrices. All rows of a tile have one adapter or none, no adapter has a gain, and
// tiles are whole. With GATED half of a tile's columns are of each part.
#include "storage.glsl"
#include "smlm.glsl"
#include "matrix2.glsl"

layout(constant_id = 0) const uint EPILOGUE = 0;
layout(constant_id = 1) const uint ROUNDS = 0; // times RK ranks of any adapter; 0: there are none
const uint PLAIN = 0, ADD = 1, SILU = 2, SILU_KEEP = 3; // EPILOGUE

layout(push_constant) uniform Push {
    Halves x;      // [rows, k]
    Parts parts;   // [count]
    F32 v;         // the shrink's result, scaled: [rows, count, v_stride]
    Ints slots;    // [rows] slot or -1 for the base
    uvec2 y;       // [rows, y_stride], float32 or, with SILU, the activation type
    Halves keep;   // with SILU_KEEP [rows, 2 y_stride]: gate, then up
    uint rows, k, count, y_stride, v_stride;
    uint gains;
};

#ifdef GATED
const uint HALVES = 2;
#else
const uint HALVES = 1;
#endif
const uint WIDE = BN / HALVES; // a tile's columns by part

Part part[HALVES];
uint number;      // of part[0] among the product's
uint row, column; // the tile's first
SUMS(WIDE) acc[HALVES];

bool locate() {
    const uint one = parts.v[0].n / WIDE;
    const uint two = HALVES == 1 && count > 1 ? one + parts.v[1].n / WIDE : one;
    const uint all = HALVES == 1 && count > 2 ? two + parts.v[2].n / WIDE : two;
    const uvec2 tile = tile_of(gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x, rows / BM, all);
    number = HALVES == 2 || tile.y < one ? 0 : tile.y < two ? 1 : 2;
    row = tile.x * BM;
    column = (tile.y - (number == 0 ? 0 : number == 1 ? one : two)) * WIDE;
    [[unroll]] for (uint h = 0; h < HALVES; h++) part[h] = parts.v[number + h];
    return row < rows && tile.y < all;
}

// start sets the sums to what is added to: the bias, the residual stream.
void start() {
    [[unroll]] for (uint h = 0; h < HALVES; h++) {
        acc[h] = SUMS(WIDE)(0.0);
        if (IS_NULL(part[h].bias)) continue;
        SUMS(WIDE) bias; // rows that are no distance apart: the same in all
        coopMatLoadTensorNV(bias, Floats(uvec2(part[h].bias)).v, 0, sliceTensorLayoutNV(matrix_of(BM, part[h].n, 0), 0, BM, column, WIDE));
        acc[h] += bias;
    }
    if (EPILOGUE == ADD) {
        SUMS(WIDE) before;
        coopMatLoadTensorNV(before, Floats(y).v, part[0].offset, sliceTensorLayoutNV(matrix_of(rows, part[0].n, even(y_stride)), row, BM, column, WIDE));
        acc[0] += before;
    }
}

void base_product() {
    const uint deep = even(k);
    const tensorLayoutNV<2> inputs = matrix_of(rows, deep, deep);
    const tensorViewNV<2, false, 1, 0> transposed = createTensorViewNV(2, false, 1, 0);
    [[dont_unroll]] for (uint from = 0; from < deep; from += UNROLL * BK) {
        [[unroll]] for (uint piece = 0; piece < UNROLL; piece++) {
            const uint kk = from + piece * BK;
            A(BM, BK) a;
            coopMatLoadTensorNV(a, x.v, 0, sliceTensorLayoutNV(inputs, row, BM, kk, BK));
            [[unroll]] for (uint h = 0; h < HALVES; h++) {
                B(BK, WIDE) b;
                coopMatLoadTensorNV(b, Halves(part[h].w).v, 0, sliceTensorLayoutNV(matrix_of(part[h].n, deep, deep), column, WIDE, kk, BK), transposed);
                acc[h] = coopMatMulAdd(a, b, acc[h]);
            }
        }
    }
}

// expand adds the LoRA products of the adapter that all rows of the tile have.
// Beyond its rank both operands are zero.
void expand() {
    const int slot = slots.v[row];
    if (slot < 0) return;
    const tensorViewNV<2, false, 1, 0> transposed = createTensorViewNV(2, false, 1, 0);
    [[unroll]] for (uint h = 0; h < HALVES; h++) {
        Slot s = part[h].slots.v[slot];
        if (IS_NULL(s.b)) continue;
        [[unroll]] for (uint r = 0; r < ROUNDS * RK; r += RK) {
            coopmat<float, gl_ScopeWorkgroup, BM, RK, gl_MatrixUseA> shrunk;
            coopMatLoadTensorNV(shrunk, Floats(uvec2(v)).v, (number + h) * v_stride,
                                sliceTensorLayoutNV(padded_matrix_of(rows, s.rank, count * v_stride), row, BM, r, RK));
            coopMatPerElementNV(shrunk, shrunk, fit);
            B(RK, WIDE) b;
            coopMatLoadTensorNV(b, Halves(uvec2(s.b)).v, 0, sliceTensorLayoutNV(padded_matrix_of(part[h].n, s.rank, s.rank), column, WIDE, r, RK), transposed);
            acc[h] = coopMatMulAdd(A(BM, RK)(shrunk), b, acc[h]);
        }
    }
}

float silu(const in uint row, const in uint column, const in float x) { return x / (1.0 + exp(-x)); }

// store_half stores sums in the activation type.
void store_half(SUMS(WIDE) sums, Halves to, uint offset, uint stride) {
    coopMatPerElementNV(sums, sums, fit);
    coopMatStoreTensorNV(coopmat<float16_t, gl_ScopeWorkgroup, BM, WIDE, gl_MatrixUseAccumulator>(sums), to.v, offset,
                         sliceTensorLayoutNV(matrix_of(rows, part[0].n, stride), row, BM, column, WIDE));
}

void finish() {
    if (HALVES == 1) {
        coopMatStoreTensorNV(acc[0], Floats(y).v, part[0].offset, sliceTensorLayoutNV(matrix_of(rows, part[0].n, even(y_stride)), row, BM, column, WIDE));
        return;
    }
    if (EPILOGUE == SILU_KEEP)
        [[unroll]] for (uint h = 0; h < HALVES; h++) store_half(acc[h], keep, h * y_stride, 2 * even(y_stride));
    SUMS(WIDE) gate;
    coopMatPerElementNV(gate, acc[0], silu);
    store_half(gate * acc[HALVES - 1], Halves(y), 0, even(y_stride));
}

void main() {
    if (!locate()) return;
    start();
    base_product();
    if (ROUNDS > 0) expand();
    finish();
}
