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
};

shared float partial[SPLIT_K == 1 ? WG * TM * TN : 1];
uint part_of[TN], column[TN];
float acc[TM * TN];
vec4 wide[TN]; // the columns' weights at one position of K

// locate gives tile j its columns: TN of one part, or with SILU the same TN/2 of both.
bool locate(uint j) {
    if (EPILOGUE == SILU) {
        for (uint c = 0; c < TN; c++) {
            part_of[c] = c / (TN / 2);
            column[c] = j * (TN / 2) + c % (TN / 2);
        }
        return column[0] < parts.v[0].n;
    }
    uint p = 0;
    for (; p < count; p++) {
        uint tiles = (parts.v[p].n + TN - 1) / TN;
        if (j < tiles) break;
        j -= tiles;
    }
    for (uint c = 0; c < TN; c++) {
        part_of[c] = p;
        column[c] = j * TN + c;
    }
    return p < count;
}

void multiply_add(uint i, vec4 xk, uint from, uint to) {
    for (uint c = 0; c < TN; c++)
        if (c >= from && c < to) acc[i * TN + c] += dot(xk, wide[c]);
}

void base_product(uint m0, uint first, uint step) {
    WEIGHT w[TN];
    uint at[TN];
    for (uint c = 0; c < TN; c++) {
        w[c] = WEIGHT(parts.v[part_of[c]].w);
        at[c] = min(column[c], parts.v[part_of[c]].n - 1) * k;
    }
    for (uint kk = first; kk < k; kk += step) {
        for (uint c = 0; c < TN; c++) wide[c] = load_weight(w[c], at[c] + kk);
        for (uint i = 0; i < TM; i++)
            multiply_add(i, load_act(x, min(m0 + i, rows - 1) * k + kk), 0, TN);
    }
}

// b_rows loads the columns' rows of B at one position of the rank.
void b_rows(Slot s, uint n, uint r, uint from, uint to) {
    for (uint c = 0; c < TN; c++)
        if (c >= from && c < to) wide[c] = load_act(s.b, min(column[c], n - 1) * s.rank + r);
}

// expand adds the LoRA product for columns [from, to), which lie in one part.
// Rows of one adapter share the loads of B; in a mixed tile each row has its own.
void expand(uint m0, uint from, uint to, uint first, uint step) {
    uint p = part_of[from], n = parts.v[p].n;
    Slots table = parts.v[p].slots;
    int s0 = slots.v[m0];
    bool same = true;
    for (uint i = 1; i < TM; i++) same = same && slots.v[min(m0 + i, rows - 1)] == s0;
    if (same && s0 < 0) return;
    if (same) {
        Slot s = table.v[s0];
        if (IS_NULL(s.b)) return;
        for (uint r = first; r < s.rank; r += step) {
            b_rows(s, n, r, from, to);
            for (uint i = 0; i < TM; i++)
                multiply_add(i, load_f32(v, (min(m0 + i, rows - 1) * count + p) * v_stride + r), from, to);
        }
        return;
    }
    for (uint i = 0; i < TM; i++) {
        uint m = min(m0 + i, rows - 1);
        int si = slots.v[m];
        if (si < 0) continue;
        Slot s = table.v[si];
        if (IS_NULL(s.b)) continue;
        for (uint r = first; r < s.rank; r += step) {
            b_rows(s, n, r, from, to);
            multiply_add(i, load_f32(v, (m * count + p) * v_stride + r), from, to);
        }
    }
}

// settled applies gain and bias to a finished sum.
float settled(uint m, uint c, float sum) {
    Part p = parts.v[part_of[c]];
    uint n = min(column[c], p.n - 1);
    if (!IS_NULL(slots) && slots.v[m] >= 0) {
        Floats gain = p.slots.v[slots.v[m]].gain;
        if (!IS_NULL(gain)) sum *= gain.v[n];
    }
    return IS_NULL(p.bias) ? sum : sum + p.bias.v[n];
}

void finish(uint m, float row[TN]) {
    if (m >= rows) return;
    for (uint c = 0; c < TN; c++) row[c] = settled(m, c, row[c]);
    if (EPILOGUE == SILU) {
        for (uint c = 0; c < TN / 2; c += 2) {
            vec2 g = vec2(row[c], row[c + 1]), u = vec2(row[TN / 2 + c], row[TN / 2 + c + 1]);
            if (column[c] < parts.v[0].n) store2_act(ACT(y), m * y_stride + column[c], g / (1.0 + exp(-g)) * u);
        }
        return;
    }
    Part p = parts.v[part_of[0]];
    for (uint c = 0; c < TN; c++) {
        if (column[c] >= p.n) break;
        uint at = m * y_stride + p.offset + column[c];
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
    const uint lane = gl_LocalInvocationID.x, m0 = gl_WorkGroupID.y * TM;
    const uint first = SPLIT_K == 1 ? lane * 4 : 0, step = SPLIT_K == 1 ? WG * 4 : 4;
    // With SPLIT_K the whole workgroup leaves or none, so barriers are met by all.
    if (!locate(SPLIT_K == 1 ? gl_WorkGroupID.x : gl_GlobalInvocationID.x)) return;
    for (uint i = 0; i < TM * TN; i++) acc[i] = 0;
    base_product(m0, first, step);
    if (!IS_NULL(slots)) {
        const uint middle = EPILOGUE == SILU ? TN / 2 : TN;
        expand(m0, 0, middle, first, step);
        if (EPILOGUE == SILU) expand(m0, middle, TN, first, step);
    }
    float row[TN];
    if (SPLIT_K == 1) {
        reduce(lane);
        for (uint i = lane; i < TM; i += WG) {
            for (uint c = 0; c < TN; c++) row[c] = partial[(i * TN + c) * WG];
            finish(m0 + i, row);
        }
        return;
    }
    for (uint i = 0; i < TM; i++) {
        for (uint c = 0; c < TN; c++) row[c] = acc[i * TN + c];
        finish(m0 + i, row);
    }
}
