#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// SMLM's gradients of the adapters' matrices, for all segments and for up to
// three modules that share X at once:
//   dA += U^T . X        dB += dY^T . V
// A lane takes four columns (of X for dA, of dY for dB) and QUADS times four
// ranks. A workgroup lies in one segment, part and matrix.
//
// The rows of a segment are cut into SHARES, each summed by other lanes in the
// rows' order; then the shares are added in theirs. So where a number's sum is cut
// depends on its segment alone, and the same inputs give the same bits.
#include "storage.glsl"
#include "smlm.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint QUADS = 2;
layout(constant_id = 2) const uint ALIGNED = 1; // the parts' offsets and outputs are multiples of 4
layout(constant_id = 3) const uint SHARES = 1;
layout(constant_id = 4) const uint AHEAD = 1;   // rows loaded before the first is added
const uint WG = gl_WorkGroupSize.x, LANES = WG / SHARES, SUMS = 4 * QUADS;

layout(push_constant) uniform Push {
    ACT x;         // [rows, k]
    ACT dy;        // [rows, dy_stride], the parts side by side
    Parts parts;   // [count]
    F32 u;         // [rows, count, stride]
    F32 v;         // [rows, count, stride]
    Ints segments; // [.] of (first row, rows, slot)
    uint k, count, dy_stride, stride;
};

// By share, then sum; a column apart, so that neighbours in either direction lie in different banks.
shared vec4 shares[SHARES > 1 ? SHARES * SUMS * (LANES + 1) : 1];
vec4 acc[SUMS];

uint groups(uint columns) { return (columns + 4 * LANES - 1) / (4 * LANES); }

// load_dy is four outputs' gradients from column n of a part on.
vec4 load_dy(uint at, uint n, uint most) {
    if (ALIGNED == 1) return load_act(dy, at + n);
    vec4 d;
    for (uint j = 0; j < 4; j++) d[j] = load1_act(dy, at + min(n + j, most - 1));
    return d;
}

// sum_a sums dA: acc[4q + j] is rank 4q + j of four columns.
void sum_a(uint p, uint first, uint last, uint column, uint rank) {
    [[dont_unroll]] for (uint t = first; t < last; t += AHEAD) {
        vec4 wide[AHEAD];
        [[unroll]] for (uint i = 0; i < AHEAD; i++) wide[i] = load_act(x, min(t + i, last - 1) * k + column);
        [[unroll]] for (uint i = 0; i < AHEAD; i++)
            if (t + i < last)
                [[unroll]] for (uint q = 0; q < QUADS; q++) {
                    const vec4 s = load_f32(u, ((t + i) * count + p) * stride + min(rank + 4 * q, stride - 4));
                    [[unroll]] for (uint j = 0; j < 4; j++) acc[4 * q + j] += s[j] * wide[i];
                }
    }
}

// sum_b sums dB: acc[4q + j] is four ranks of column j.
void sum_b(uint p, Part part, uint first, uint last, uint column, uint rank) {
    [[dont_unroll]] for (uint t = first; t < last; t += AHEAD) {
        vec4 wide[AHEAD];
        [[unroll]] for (uint i = 0; i < AHEAD; i++) wide[i] = load_dy(min(t + i, last - 1) * dy_stride + part.offset, column, part.n);
        [[unroll]] for (uint i = 0; i < AHEAD; i++)
            if (t + i < last)
                [[unroll]] for (uint q = 0; q < QUADS; q++) {
                    const vec4 s = load_f32(v, ((t + i) * count + p) * stride + min(rank + 4 * q, stride - 4));
                    [[unroll]] for (uint j = 0; j < 4; j++) acc[4 * q + j] += wide[i][j] * s;
                }
    }
}

// store adds sum i, of the lane with the given first column, to the gradient.
void store(bool of_a, Part part, Slot s, uint i, uint column, uint rank, vec4 sum) {
    if (of_a) {
        if (column >= k || rank + i >= s.rank) return;
        const uint at = (rank + i) * k + column;
        store_f32(s.da, at, load_f32(s.da, at) + sum);
        return;
    }
    column += i % 4;
    rank += i / 4 * 4;
    if (column >= part.n || rank >= s.rank) return;
    const uint at = column * s.rank + rank;
    store_f32(s.db, at, load_f32(s.db, at) + sum);
}

// add_shares adds up the shares, a sum a lane, so that neighbours store side by side.
void add_shares(bool of_a, Part part, Slot s, uint from, uint rank) {
    const uint me = gl_LocalInvocationID.x, lane = me % LANES, share = me / LANES;
    for (uint i = 0; i < SUMS; i++) shares[(share * SUMS + i) * (LANES + 1) + lane] = acc[i];
    barrier();
    for (uint e = me; e < SUMS * LANES; e += WG) {
        const uint i = of_a ? e / LANES : e % QUADS * 4 + e / QUADS % 4, column = of_a ? e % LANES : e / SUMS;
        vec4 sum = vec4(0);
        for (uint n = 0; n < SHARES; n++) sum += shares[(n * SUMS + i) * (LANES + 1) + column];
        store(of_a, part, s, i, from + 4 * column, rank, sum);
    }
}

void main() {
    const uint z = gl_WorkGroupID.z * 3, rank = gl_WorkGroupID.y * 4 * QUADS, me = gl_LocalInvocationID.x;
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
    if (IS_NULL(s.da) || rank >= s.rank) return; // all lanes or none
    const uint from = group * LANES * 4, column = from + me % LANES * 4, all = uint(segments.v[z + 1]);
    const uint each = (all + SHARES - 1) / SHARES, first = min(me / LANES * each, all), start = uint(segments.v[z]);
    for (uint i = 0; i < SUMS; i++) acc[i] = vec4(0);
    if (of_a && column < k) sum_a(p, start + first, start + min(first + each, all), column, rank);
    if (!of_a && column < part.n) sum_b(p, part, start + first, start + min(first + each, all), column, rank);
    if (SHARES > 1) {
        add_shares(of_a, part, s, from, rank);
        return;
    }
    for (uint i = 0; i < SUMS; i++) store(of_a, part, s, i, column, rank, acc[i]);
}
