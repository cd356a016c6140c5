#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// Backward of the linear product with respect to its input:
//   dX = sum over the parts of dY . W + U . A
// with W [n, k] read as it is stored, and the LoRA term behind the product over
// the outputs as in linear.comp; U is what shrink_grad left.
//
// An invocation computes TM rows by VECS vec4s of columns in registers; a
// workgroup's lanes take neighbouring columns of the same rows, so that rows of
// W are read in one sweep and dY is loaded once for all lanes.
#include "storage.glsl"
#include "smlm.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TM = 8;
layout(constant_id = 2) const uint VECS = 1;
layout(constant_id = 3) const uint STEP = 4;      // outputs at a time: 1 where the parts' are no multiples of 4
layout(constant_id = 4) const uint ADAPTERS = 0;
const uint NONE = 0, ALIKE = 1, MIXED = 2;        // as in linear.comp
const uint WG = gl_WorkGroupSize.x;

layout(push_constant) uniform Push {
    ACT dy;        // [rows, dy_stride], the parts side by side
    Parts parts;   // [count]
    F32 u;         // [rows, count, u_stride]
    Ints slots;    // [rows]; unused with NONE
    F32 dx;        // [rows, k]
    uint rows, k, count, dy_stride, u_stride;
};

uint row[TM];      // the tile's rows; those beyond the last are the last
uint column[VECS]; // likewise
vec4 acc[TM * VECS];

// load_dy is STEP outputs' gradients of a row.
vec4 load_dy(uint at) { return STEP == 4 ? load_act(dy, at) : vec4(load1_act(dy, at), 0, 0, 0); }

void base_product(Part part) {
    WEIGHT w = WEIGHT(part.w);
    uint n = 0;
    do {
        vec4 d[TM];
        for (uint i = 0; i < TM; i++) d[i] = load_dy(row[i] * dy_stride + part.offset + n);
        for (uint j = 0; j < STEP; j++)
            for (uint c = 0; c < VECS; c++) {
                vec4 wide = load_weight(w, (n + j) * k + column[c]);
                for (uint i = 0; i < TM; i++) acc[i * VECS + c] += d[i][j] * wide;
            }
        n += STEP;
    } while (n < part.n);
}

// lora adds U . A for rows i to end - 1 of the tile, which have the slot. What
// the others would get is dropped when it is complete, as in linear.comp.
void lora(uint p, int slot, uint i, uint end) {
    if (slot < 0) return;
    Slot s = parts.v[p].slots.v[slot];
    if (IS_NULL(s.a)) return;
    vec4 sum[TM * VECS];
    for (uint m = 0; m < TM * VECS; m++) sum[m] = vec4(0);
    uint r = 0;
    do {
        vec4 d[TM];
        for (uint m = 0; m < TM; m++) d[m] = load_f32(u, (row[m] * count + p) * u_stride + r);
        for (uint j = 0; j < 4; j++)
            for (uint c = 0; c < VECS; c++) {
                vec4 wide = load_act(s.a, (r + j) * k + column[c]);
                for (uint m = 0; m < TM; m++) {
                    if (ADAPTERS == ALIKE) acc[m * VECS + c] += d[m][j] * wide;
                    else sum[m * VECS + c] += d[m][j] * wide;
                }
            }
        r += 4;
    } while (r < s.rank);
    if (ADAPTERS == ALIKE) return;
    for (uint m = 0; m < TM; m++) // bounds that the compiler knows keep acc in registers
        if (m >= i && m < end)
            for (uint c = 0; c < VECS; c++) acc[m * VECS + c] += sum[m * VECS + c];
}

// adapters adds the LoRA terms, run by run of rows with one slot.
void adapters(uint p) {
    if (ADAPTERS == ALIKE) {
        lora(p, slots.v[row[0]], 0, TM);
        return;
    }
    uint i = 0;
    [[dont_unroll]] do {
        const int slot = slots.v[row[i]];
        uint end = i + 1;
        while (end < TM && slots.v[row[end]] == slot) end++;
        lora(p, slot, i, end);
        i = end;
    } while (i < TM);
}

void main() {
    const uint first = (gl_WorkGroupID.x * WG * VECS + gl_LocalInvocationID.x) * 4;
    for (uint i = 0; i < TM; i++) row[i] = min(gl_WorkGroupID.y * TM + i, rows - 1);
    for (uint c = 0; c < VECS; c++) column[c] = min(first + c * WG * 4, k - 4);
    for (uint i = 0; i < TM * VECS; i++) acc[i] = vec4(0);
    uint p = 0;
    [[dont_unroll]] do {
        base_product(parts.v[p]);
        if (ADAPTERS != NONE) adapters(p);
        p++;
    } while (p < count);
    for (uint i = 0; i < TM; i++) {
        if (gl_WorkGroupID.y * TM + i >= rows) break;
        for (uint c = 0; c < VECS; c++)
            if (first + c * WG * 4 < k) store_f32(dx, row[i] * k + column[c], acc[i * VECS + c]);
    }
}
