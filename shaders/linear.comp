#version 460
#extension GL_GOOGLE_include_directive : require
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
int slot_of[TM];  // each row's; filled where some row has an adapter
float acc[TM * TN];
vec4 wide[TN];    // the columns' weights at one position of K, or of the rank

// locate finds the workgroup's part and the invocation's columns. A workgroup
// lies in one part, so that everything looked up by part is the same for its lanes.
bool locate() {
    const uint span = SPLIT_K == 1 ? WIDE : WIDE * WG;
    uint group = gl_WorkGroupID.x, p = 0;
    if (EPILOGUE != SILU)
        for (; p + 1 < count; p++) {
            uint groups = (parts.v[p].n + span - 1) / span;
            if (group < groups) break;
            group -= groups;
        }
    number = p;
    for (uint h = 0; h < HALVES; h++) part[h] = parts.v[p + h];
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

// expand adds the LoRA product of part h for rows [from, from + n) of the
// tile, which have one adapter: each load of B serves all of them.
void expand(uint h, uint from, uint n, uint first, uint step) {
    if (slot_of[from] < 0) return;
    Slot s = part[h].slots.v[slot_of[from]];
    if (IS_NULL(s.b)) return;
    uint at[WIDE];
    for (uint c = 0; c < WIDE; c++) at[c] = column_of(c) * s.rank;
    for (uint r = first; r < s.rank; r += step) {
        for (uint c = 0; c < WIDE; c++) wide[c] = load_act(s.b, at[c] + r);
        for (uint i = from; i < from + n; i++) {
            vec4 vr = load_f32(v, (row_of(i) * count + number + h) * v_stride + r);
            for (uint c = 0; c < WIDE; c++) acc[i * TN + h * WIDE + c] += dot(vr, wide[c]);
        }
    }
}

bool alike(uint i, uint n) {
    for (uint j = 1; j < n; j++)
        if (slot_of[i + j] != slot_of[i]) return false;
    return true;
}

// adapters adds the LoRA products of all rows: a tile of one adapter at once,
// a mixed one by pairs of rows where they agree.
void adapters(uint h, uint first, uint step) {
    if (alike(0, TM)) {
        expand(h, 0, TM, first, step);
        return;
    }
    for (uint i = 0; i < TM; i += 2) {
        if (i + 1 < TM && alike(i, 2)) {
            expand(h, i, 2, first, step);
            continue;
        }
        expand(h, i, 1, first, step);
        if (i + 1 < TM) expand(h, i + 1, 1, first, step);
    }
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
    for (uint s = WG / 2; s > 0; s /= 2) {
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
    if (!IS_NULL(slots)) {
        for (uint i = 0; i < TM; i++) slot_of[i] = slots.v[row_of(i)];
        for (uint h = 0; h < HALVES; h++) adapters(h, first, step);
    }
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
