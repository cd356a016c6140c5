#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// SMLM's gradients of the adapters' matrices, for all segments and for up to
// three modules that share X at once:
//   dA += U^T . X        dB += dY^T . V
// Each number is summed by one invocation over the rows of its segment in their
// order: the same inputs give the same bits.
//
// A lane takes four columns (of X for dA, of dY for dB) and QUADS times four
// ranks. A workgroup lies in one segment, part and matrix.
#include "storage.glsl"
#include "smlm.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint QUADS = 2;
layout(constant_id = 2) const uint ALIGNED = 1; // the parts' offsets and outputs are multiples of 4
const uint WG = gl_WorkGroupSize.x;

layout(push_constant) uniform Push {
    ACT x;         // [rows, k]
    F32 dy;        // [rows, dy_stride], the parts side by side
    Parts parts;   // [count]
    F32 u;         // [rows, count, stride]
    F32 v;         // [rows, count, stride]
    Ints segments; // [.] of (first row, rows, slot)
    uint k, count, dy_stride, stride;
};

vec4 acc[4 * QUADS];

uint groups(uint columns) { return (columns + 4 * WG - 1) / (4 * WG); }

// load_dy is four outputs' gradients from column n of a part on.
vec4 load_dy(uint at, uint n, uint most) {
    if (ALIGNED == 1) return load_f32(dy, at + n);
    vec4 d;
    for (uint j = 0; j < 4; j++) d[j] = Floats(dy).v[at + min(n + j, most - 1)];
    return d;
}

// sum_a sums dA: acc[4q + j] is rank 4q + j of four columns.
void sum_a(uint p, uint first, uint last, uint column, uint rank) {
    uint t = first;
    do {
        const vec4 wide = load_act(x, t * k + column);
        for (uint q = 0; q < QUADS; q++) {
            const vec4 s = load_f32(u, (t * count + p) * stride + min(rank + 4 * q, stride - 4));
            for (uint j = 0; j < 4; j++) acc[4 * q + j] += s[j] * wide;
        }
        t++;
    } while (t < last);
}

// sum_b sums dB: acc[4q + j] is four ranks of column j.
void sum_b(uint p, Part part, uint first, uint last, uint column, uint rank) {
    uint t = first;
    do {
        const vec4 wide = load_dy(t * dy_stride + part.offset, column, part.n);
        for (uint q = 0; q < QUADS; q++) {
            const vec4 s = load_f32(v, (t * count + p) * stride + min(rank + 4 * q, stride - 4));
            for (uint j = 0; j < 4; j++) acc[4 * q + j] += wide[j] * s;
        }
        t++;
    } while (t < last);
}

void add(F32 to, uint at, vec4 sum) { store_f32(to, at, load_f32(to, at) + sum); }

void main() {
    const uint z = gl_WorkGroupID.z * 3, rank = gl_WorkGroupID.y * 4 * QUADS;
    const uint first = uint(segments.v[z]), last = first + uint(segments.v[z + 1]);
    // The workgroup's part; first come all parts' blocks of dA, then of dB.
    uint group = gl_WorkGroupID.x, p = group / groups(k);
    const bool of_a = p < count;
    if (of_a) {
        group %= groups(k);
    } else {
        group -= count * groups(k);
        const uint one = groups(parts.v[0].n), two = one + groups(parts.v[min(1, count - 1)].n);
        p = uint(count > 1 && group >= one) + uint(count > 2 && group >= two);
        group -= p == 0 ? 0 : p == 1 ? one : two;
    }
    Part part = parts.v[p];
    Slot s = part.slots.v[segments.v[z + 2]];
    if (IS_NULL(s.da) || rank >= s.rank) return;
    const uint column = (group * WG + gl_LocalInvocationID.x) * 4;
    for (uint i = 0; i < 4 * QUADS; i++) acc[i] = vec4(0);
    if (of_a) {
        if (column >= k) return;
        sum_a(p, first, last, column, rank);
        for (uint i = 0; i < 4 * QUADS; i++)
            if (rank + i < s.rank) add(s.da, (rank + i) * k + column, acc[i]);
        return;
    }
    if (column >= part.n) return;
    sum_b(p, part, first, last, column, rank);
    for (uint q = 0; q < QUADS; q++)
        for (uint j = 0; j < 4; j++)
            if (rank + 4 * q < s.rank && column + j < part.n) add(s.db, (column + j) * s.rank + rank + 4 * q, acc[4 * q + j]);
}
