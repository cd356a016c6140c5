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
#include "storage.glsl"
#include "smlm.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TM = 8;
layout(constant_id = 2) const uint TN = 4;
layout(constant_id = 3) const uint EPILOGUE = 0;
layout(constant_id = 4) const uint SPLIT_K = 0;
const uint PLAIN = 0, ADD = 1, SILU = 2;
const uint WG = gl_WorkGroupSize.x;

layout(push_constant) uniform Push {
    ACT x;         // [rows, k]
    Parts parts;   // [count]
    F32 v;         // the shrink's result, scaled: [rows, count, v_stride]
    Ints slots;    // [rows] slot or -1 for the base; null when no row has an adapter
    uvec2 y;       // [rows, y_stride], float32 or, with SILU, the activation type
    uint rows, k, count, y_stride, v_stride;
    uint gains;    // 1 where some adapter of the step has a gain
};

const uint HALVES = EPILOGUE == SILU ? 2 : 1, WIDE = TN / HALVES; // a tile's columns by part

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
    if (EPILOGUE != SILU) {
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
    for (uint kk = first; kk < k; kk += step) {
        for (uint c = 0; c < TN; c++) wide[c] = load_weight(w[c / WIDE], at[c] + kk);
        for (uint i = 0; i < TM; i++) {
            vec4 xk = load_act(x, row_of(i) * k + kk);
            for (uint c = 0; c < TN; c++) acc[i * TN + c] += dot(xk, wide[c]);
        }
    }
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

// expand_tile adds the LoRA product of part h for a tile of one adapter: each
// load of B serves all rows.
void expand_tile(uint h, int slot, uint first, uint step) {
    if (slot < 0) return;
    Slot s = part[h].slots.v[slot];
    if (IS_NULL(s.b)) return;
    b_start(s);
    for (uint r = first; r < s.rank; r += step) {
        b_row(s, r);
        for (uint i = 0; i < TM; i++) {
            vec4 vr = v_of(row_of(i), h, r);
            for (uint c = 0; c < WIDE; c++) acc[i * TN + h * WIDE + c] += dot(vr, wide[c]);
        }
    }
}

// expand_pair adds it for rows i and i + 1 of a mixed tile, which share the
// loads of B where they share the adapter. The rows are picked while running, so
// their sums are kept apart until the end: indexing acc by them would move it to memory.
void expand_pair(uint h, uint i, uint first, uint step) {
    const int a = slots.v[row_of(i)], b = slots.v[row_of(i + 1)];
    float sum[2 * WIDE];
    for (uint c = 0; c < 2 * WIDE; c++) sum[c] = 0;
    for (uint turn = 0; turn < (a == b ? 1 : 2); turn++) {
        const int slot = turn == 0 ? a : b;
        if (slot < 0) continue;
        Slot s = part[h].slots.v[slot];
        if (IS_NULL(s.b)) continue;
        b_start(s);
        for (uint r = first; r < s.rank; r += step) {
            b_row(s, r);
            vec4 va = slot == a ? v_of(row_of(i), h, r) : vec4(0), vb = slot == b ? v_of(row_of(i + 1), h, r) : vec4(0);
            for (uint c = 0; c < WIDE; c++) {
                sum[c] += dot(va, wide[c]);
                sum[WIDE + c] += dot(vb, wide[c]);
            }
        }
    }
    for (uint j = 0; j < TM; j++)
        for (uint c = 0; c < WIDE; c++)
            acc[j * TN + h * WIDE + c] += j == i ? sum[c] : j == i + 1 ? sum[WIDE + c] : 0;
}

// adapters adds the LoRA products of all rows.
void adapters(uint h, uint first, uint step) {
    const uint m0 = gl_WorkGroupID.y * TM, n = min(TM, rows - m0);
    bool alike = true;
    for (uint i = 1; i < TM; i++) alike = alike && slots.v[row_of(i)] == slots.v[m0];
    if (alike) {
        expand_tile(h, slots.v[m0], first, step);
        return;
    }
    for (uint i = 0; i < n; i += 2) expand_pair(h, i, first, step);
}

// settle applies DoRA's gain and the bias to a row's finished sums.
void settle(uint m, inout float row[TN]) {
    for (uint h = 0; h < HALVES; h++) {
        if (gains == 1 && slots.v[m] >= 0) {
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
    if (EPILOGUE == SILU) {
        for (uint c = 0; c < WIDE; c += 2) {
            vec2 g = vec2(row[c], row[c + 1]), u = vec2(row[WIDE + c], row[WIDE + c + 1]);
            if (column + c < part[0].n) store2_act(ACT(y), m * y_stride + column + c, g / (1.0 + exp(-g)) * u);
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
    if (!IS_NULL(slots))
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
