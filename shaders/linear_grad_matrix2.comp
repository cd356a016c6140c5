#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// The product's gradient of linear_grad.comp for many rows on a workgroup's
// cooperative matrices:
//   dX = sum over the parts of dY . W + U . A
// All rows of a tile have one adapter or none, and tiles are whole.
#include "storage.glsl"
#include "smlm.glsl"
#include "matrix2.glsl"

layout(constant_id = 0) const uint PARTS = 1;
layout(constant_id = 1) const uint ROUNDS = 0; // times RK ranks of any adapter; 0: there are none

layout(push_constant) uniform Push {
    Halves dy;     // [rows, dy_stride], the parts side by side
    Parts parts;   // [PARTS]
    F32 u;         // [rows, PARTS, u_stride]
    Ints slots;    // [rows]; unused without ROUNDS
    F32 dx;        // [rows, k]
    uint rows, k, count, dy_stride, u_stride;
};

uint row, column; // the tile's first
SUMS(BN) acc;

bool locate() {
    const uint along = k / BN;
    const uvec2 tile = tile_of(gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x, rows / BM, along);
    row = tile.x * BM;
    column = tile.y * BN;
    return row < rows && tile.y < along;
}

// base_product goes through the outputs of all parts in one loop: a loop for each
// part runs at half the speed.
void base_product() {
    const uint outputs = even(dy_stride), inputs = even(k);
    Part first = parts.v[0], second = parts.v[min(1, PARTS - 1)], third = parts.v[PARTS - 1];
    [[dont_unroll]] for (uint from = 0; from < outputs; from += UNROLL * BK) {
        uvec2 w = first.w;
        uint begin = 0; // of the part
        if (PARTS > 1 && from >= second.offset) { w = second.w; begin = second.offset; }
        if (PARTS > 2 && from >= third.offset) { w = third.w; begin = third.offset; }
        [[unroll]] for (uint piece = 0; piece < UNROLL; piece++) {
            const uint n = from + piece * BK;
            A(BM, BK) a;
            B(BK, BN) b;
            coopMatLoadTensorNV(a, dy.v, 0, sliceTensorLayoutNV(matrix_of(rows, outputs, outputs), row, BM, n, BK));
            coopMatLoadTensorNV(b, Halves(w).v, 0, sliceTensorLayoutNV(matrix_of(outputs, inputs, inputs), n - begin, BK, column, BN));
            acc = coopMatMulAdd(a, b, acc);
        }
    }
}

// lora adds U . A of the adapter that all rows of the tile have. Beyond its rank
// both operands are zero.
void lora() {
    const int slot = slots.v[row];
    if (slot < 0) return;
    [[unroll]] for (uint p = 0; p < PARTS; p++) {
        Slot s = parts.v[p].slots.v[slot];
        if (IS_NULL(s.a)) continue;
        [[unroll]] for (uint r = 0; r < ROUNDS * RK; r += RK) {
            coopmat<float, gl_ScopeWorkgroup, BM, RK, gl_MatrixUseA> shrunk;
            coopMatLoadTensorNV(shrunk, Floats(uvec2(u)).v, p * u_stride, sliceTensorLayoutNV(padded_matrix_of(rows, s.rank, PARTS * u_stride), row, BM, r, RK));
            coopMatPerElementNV(shrunk, shrunk, fit);
            B(RK, BN) a;
            coopMatLoadTensorNV(a, Halves(uvec2(s.a)).v, 0, sliceTensorLayoutNV(padded_matrix_of(s.rank, even(k), even(k)), r, RK, column, BN));
            acc = coopMatMulAdd(A(BM, RK)(shrunk), a, acc);
        }
    }
}

void main() {
    if (!locate()) return;
    acc = SUMS(BN)(0.0);
    base_product();
    if (ROUNDS > 0) lora();
    coopMatStoreTensorNV(acc, Floats(uvec2(dx)).v, 0, sliceTensorLayoutNV(matrix_of(rows, even(k), even(k)), row, BM, column, BN));
}
