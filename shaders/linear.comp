#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// Y = X . W^T for up to three modules that share X, with the LoRA expand fused
// in: behind a row's product over K comes the product over its adapter's rank,
// so adapters add no pass over Y.
//
// A tile is TM rows by TN columns of one module. Two families:
//   lanes over columns (SPLIT_K = 0): an invocation computes a tile in
//     registers; a workgroup's lanes take neighbouring columns of the same rows,
//     so that X is loaded once for all of them. For many rows, and for software
//     devices.
//   lanes over K (SPLIT_K = 1): a workgroup computes a tile, reading each
//     weight row in one sweep. For few rows on a GPU, where the bound is reading W.
// Epilogue: DoRA gain, bias, then
//   PLAIN  y = acc                (the parts side by side in a row of Y)
//   ADD    y += acc               (the residual stream)
//   SILU   y = silu(gate) * up    (parts 0 and 1; Y in the activation type)
//   SILU_KEEP  as SILU, and gate and up are kept for the gradient
//
// Software devices run both sides of every branch, and each loop at least
// once, so what the host knows is a specialization constant, and inner loops test at their end.
#include "storage.glsl"
#include "smlm.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TM = 8;
layout(constant_id = 2) const uint TN = 4;
layout(constant_id = 3) const uint EPILOGUE = 0;
layout(constant_id = 4) const uint SPLIT_K = 0;
layout(constant_id = 5) const uint ADAPTERS = 0;
const uint PLAIN = 0, ADD = 1, SILU = 2, SILU_KEEP = 3; // EPILOGUE
const uint NONE = 0, ALIKE = 1, MIXED = 2;    // ADAPTERS: no row has one; the rows of a tile have the same; any
const uint WG = gl_WorkGroupSize.x;

layout(push_constant) uniform Push {
    ACT x;         // [rows, k]
    Parts parts;   // [count]
    F32 v;         // the shrink's result, scaled: [rows, count, v_stride]
    Ints slots;    // [rows] slot or -1 for the base; unused with NONE
    uvec2 y;       // [rows, y_stride], float32 or, with SILU, the activation type
    ACT keep;      // with SILU_KEEP [rows, 2 y_stride]: gate, then up
    uint rows, k, count, y_stride, v_stride;
    uint gains;    // 1 where some adapter of the step has a gain
};

const bool GATED = EPILOGUE == SILU || EPILOGUE == SILU_KEEP;
const uint HALVES = GATED ? 2 : 1, WIDE = TN / HALVES; // a tile's columns by part

shared float partial[SPLIT_K == 1 ? WG * TM * TN : 1];
Part part[HALVES];
uint number;      // of part[0] among the product's
uint column;      // the tile's first; with SILU of both parts
float acc[TM * TN];
vec4 wide[TN];    // the columns' weights at one position of K, or of the rank

// groups is the number of workgroups of a part.
uint groups(uint p) {
    const uint span = SPLIT_K == 1 ? WIDE : WIDE * WG;
    return (parts.v[min(p, count - 1)].n + span - 1) / span;
}

// locate finds the workgroup's part and the invocation's columns. A workgroup
// lies in one part, so that everything looked up by part is the same for its
// lanes; without a loop, so that compilers of software devices see it.
bool locate() {
    const uint span = SPLIT_K == 1 ? WIDE : WIDE * WG;
    uint group = gl_WorkGroupID.x;
    number = 0;
    if (!GATED) {
        const uint one = groups(0), two = one + groups(1);
        number = uint(count > 1 && group >= one) + uint(count > 2 && group >= two);
        group -= number == 0 ? 0 : number == 1 ? one : two;
    }
    for (uint h = 0; h < HALVES; h++) part[h] = parts.v[number + h];
    column = group * span + (SPLIT_K == 1 ? 0 : gl_LocalInvocationID.x * WIDE);
    return column < part[0].n;
}

uint row_of(uint i) { return min(gl_WorkGroupID.y * TM + i, rows - 1); }

// column_of is the output that column c of the tile computes.
uint column_of(uint c) { return min(column + c % WIDE, part[0].n - 1); }

void base_product(uint first, uint step) {
    WEIGHT w[HALVES];
    uint at[TN];
    for (uint h = 0; h < HALVES; h++) w[h] = WEIGHT(part[h].w);
    for (uint c = 0; c < TN; c++) at[c] = column_of(c) * k;
    if (SPLIT_K == 1 && first >= k) return;
    uint kk = first;
    do {
        for (uint c = 0; c < TN; c++) wide[c] = load_weight(w[c / WIDE], at[c] + kk);
        for (uint i = 0; i < TM; i++) {
            vec4 xk = load_act(x, row_of(i) * k + kk);
            for (uint c = 0; c < TN; c++) acc[i * TN + c] += dot(xk, wide[c]);
        }
        kk += step;
    } while (kk < k);
}

// v_of is four of the shrunk inputs of a row in part h.
vec4 v_of(uint m, uint h, uint r) { return load_f32(v, (m * count + number + h) * v_stride + r); }

uint b_at[WIDE]; // where the columns' rows of B start

void b_start(Slot s) {
    for (uint c = 0; c < WIDE; c++) b_at[c] = column_of(c) * s.rank;
}

// b_row gathers the columns' rows of B at one position of the rank.
void b_row(Slot s, uint r) {
    for (uint c = 0; c < WIDE; c++) wide[c] = load_act(s.b, b_at[c] + r);
}

// expand adds part h's LoRA product for rows i to i + n - 1 of the tile: for
// those of them that have the slot. Each load of B serves all. What rows of
// another slot get is dropped when it is complete, not multiplied by zero: an
// adapter with infinite numbers is nobody else's business.
void expand(uint h, uint i, uint n, int slot, uint first, uint step) {
    if (slot < 0) return;
    Slot s = part[h].slots.v[slot];
    if (IS_NULL(s.b) || first >= s.rank) return;
    b_start(s);
    float sum[TM * WIDE];
    for (uint j = 0; j < n * WIDE; j++) sum[j] = 0;
    uint r = first;
    do {
        b_row(s, r);
        for (uint j = 0; j < n; j++) {
            vec4 vr = v_of(row_of(i + j), h, r);
            for (uint c = 0; c < WIDE; c++) {
                if (ADAPTERS == ALIKE) acc[j * TN + h * WIDE + c] += dot(vr, wide[c]); // i is 0
                else sum[j * WIDE + c] += dot(vr, wide[c]);
            }
        }
        r += step;
    } while (r < s.rank);
    if (ADAPTERS == ALIKE) return;
    for (uint j = 0; j < n; j++)
        if (slots.v[row_of(i + j)] == slot)
            for (uint c = 0; c < WIDE; c++) acc[(i + j) * TN + h * WIDE + c] += sum[j * WIDE + c];
}

// adapters adds the LoRA products of all rows: of a tile of one adapter at
// once, of a mixed one by pairs of rows, in one or two turns.
void adapters(uint h, uint first, uint step) {
    if (ADAPTERS == ALIKE) {
        expand(h, 0, TM, slots.v[row_of(0)], first, step);
        return;
    }
    for (uint i = 0; i < TM; i += 2) {
        const int a = slots.v[row_of(i)], b = i + 1 < TM ? slots.v[row_of(i + 1)] : a;
        uint turn = 0;
        do {
            expand(h, i, min(2, TM - i), turn == 0 ? a : b, first, step);
            turn++;
        } while (turn == 1 && a != b);
    }
}

// settle applies DoRA's gain and the bias to a row's finished sums.
void settle(uint m, inout float row[TN]) {
    for (uint h = 0; h < HALVES; h++) {
        if (ADAPTERS != NONE && gains == 1 && slots.v[m] >= 0) {
            Floats gain = part[h].slots.v[slots.v[m]].gain;
            if (!IS_NULL(gain))
                for (uint c = 0; c < WIDE; c++) row[h * WIDE + c] *= gain.v[column_of(c)];
        }
        if (!IS_NULL(part[h].bias))
            for (uint c = 0; c < WIDE; c++) row[h * WIDE + c] += part[h].bias.v[column_of(c)];
    }
}

void finish(uint m, float row[TN]) {
    if (m >= rows) return;
    settle(m, row);
    if (GATED) {
        for (uint c = 0; c < WIDE; c += 2) {
            vec2 g = vec2(row[c], row[c + 1]), u = vec2(row[WIDE + c], row[WIDE + c + 1]);
            if (column + c >= part[0].n) continue;
            store2_act(ACT(y), m * y_stride + column + c, g / (1.0 + exp(-g)) * u);
            if (EPILOGUE != SILU_KEEP) continue;
            store2_act(keep, 2 * m * y_stride + column + c, g);
            store2_act(keep, (2 * m + 1) * y_stride + column + c, u);
        }
        return;
    }
    for (uint c = 0; c < TN; c++) {
        if (column + c >= part[0].n) break;
        uint at = m * y_stride + part[0].offset + column + c;
        Floats(y).v[at] = EPILOGUE == ADD ? Floats(y).v[at] + row[c] : row[c];
    }
}

// reduce sums the lanes' partial tiles; lane 0's column of partial holds the sums.
void reduce(uint lane) {
    for (uint j = 0; j < TM * TN; j++) partial[j * WG + lane] = acc[j];
    [[dont_unroll]] for (uint s = WG / 2; s > 0; s /= 2) { // unrolled it is most of the code
        barrier();
        if (lane < s)
            for (uint j = 0; j < TM * TN; j++) partial[j * WG + lane] += partial[j * WG + lane + s];
    }
    barrier();
}

void main() {
    const uint lane = gl_LocalInvocationID.x;
    const uint first = SPLIT_K == 1 ? lane * 4 : 0, step = SPLIT_K == 1 ? WG * 4 : 4;
    // With SPLIT_K the whole workgroup leaves or none, so barriers are met by all.
    if (!locate()) return;
    for (uint i = 0; i < TM * TN; i++) acc[i] = 0;
    base_product(first, step);
    if (ADAPTERS != NONE)
        for (uint h = 0; h < HALVES; h++) adapters(h, first, step);
    float row[TN];
    if (SPLIT_K == 1) {
        reduce(lane);
        for (uint i = lane; i < TM; i += WG) {
            for (uint c = 0; c < TN; c++) row[c] = partial[(i * TN + c) * WG];
            finish(gl_WorkGroupID.y * TM + i, row);
        }
        return;
    }
    for (uint i = 0; i < TM; i++) {
        for (uint c = 0; c < TN; c++) row[c] = acc[i * TN + c];
        finish(gl_WorkGroupID.y * TM + i, row);
    }
}
