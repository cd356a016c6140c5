#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// The linear product of linear.comp for many rows, on cooperative matrices:
// 16-bit X and W, float32 sums. A workgroup computes a tile of one part (with SILU
// half of its columns of each); behind the product over K comes, for each run of rows
// of one adapter, that over its rank. Where there are few tiles, workgroups share each: see
// matrix_share.glsl.
#include "storage.glsl"
#include "smlm.glsl"
#include "last.glsl"

layout(constant_id = 10) const uint EPILOGUE = 0;
layout(constant_id = 11) const uint ADAPTERS = 0;
layout(constant_id = 12) const uint SHARED = 0; // 1: workgroups share each tile
const uint PLAIN = 0, ADD = 1, SILU = 2, SILU_KEEP = 3; // EPILOGUE
const uint NONE = 0, ALIKE = 1, MIXED = 2;              // ADAPTERS: of a tile's rows

layout(buffer_reference, std430, buffer_reference_align = 16) coherent buffer Sums { vec4 v[]; };

layout(push_constant) uniform Push {
    ACT x;         // [rows, k]
    Parts parts;   // [count]
    F32 v;         // the shrink's result, scaled: [rows, count, v_stride]
    Ints slots;    // [rows] slot or -1 for the base; unused with NONE
    uvec2 y;       // [rows, y_stride], float32 or, with SILU, the activation type
    ACT keep;      // with SILU_KEEP [rows, 2 y_stride]: gate, then up
    uint rows, k, count, y_stride, v_stride;
    uint gains;    // 1 where some adapter of the step has a gain
    F32 g;         // unused, as is eps: see product.glsl
    float eps;
    uint splits;       // with SHARED: workgroups that share a tile
    Sums sums;         // [tiles, splits, a tile]
    Counters counters; // [tiles], zero between dispatches
};

#include "matrix.glsl"

const bool GATED = EPILOGUE == SILU || EPILOGUE == SILU_KEEP;
const uint HALVES = GATED ? 2 : 1, WIDE = BN / HALVES; // a tile's columns by part

#include "matrix_share.glsl"

Part part[HALVES];
uint number; // of part[0] among the product's
uint row, column; // the tile's first
uint from_a[MOVES_A], from_b[MOVES_B]; // eights of X and W at the invocation's rows and columns

layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Eights { uvec4 v[]; };

// tiles is the number of tiles along a part.
uint tiles(uint p) { return p < (GATED ? 1 : count) ? (parts.v[p].n + WIDE - 1) / WIDE : 0; }

// locate finds the workgroup's tile; false where there is none for it.
bool locate() {
    const uint one = tiles(0), two = one + tiles(1), all = two + tiles(2);
    uvec2 tile = tile_of(tile_number(), (rows + BM - 1) / BM, all);
    number = GATED || tile.y < one ? 0 : tile.y < two ? 1 : 2;
    row = tile.x * BM;
    column = (tile.y - (number == 0 ? 0 : number == 1 ? one : two)) * WIDE;
    for (uint h = 0; h < HALVES; h++) part[h] = parts.v[number + h];
    return row < rows && tile.y < all;
}

// half_of is the part that the ith column of B the invocation moves is of; known when it is compiled.
uint half_of(uint i) { return GATED ? i * SWEEP_B / WIDE : 0; }
uint column_of(uint i) { return min(column + b_row(i) % WIDE, part[0].n - 1); }
uint row_of(uint i) { return min(row + i, rows - 1); }

void start() {
    [[unroll]] for (uint i = 0; i < MOVES_A; i++) from_a[i] = (row_of(a_row(i)) * k + a_eight()) / 8;
    [[unroll]] for (uint i = 0; i < MOVES_B; i++) from_b[i] = (column_of(i) * k + b_eight()) / 8;
}

void fetch(uint kk) {
    [[unroll]] for (uint i = 0; i < MOVES_A; i++) next_a[i] = Eights(uvec2(x)).v[from_a[i] + kk / 8];
    [[unroll]] for (uint i = 0; i < MOVES_B; i++) next_b[i] = Eights(part[half_of(i)].w).v[from_b[i] + kk / 8];
}

void base_product() {
    const uint from = first_step(split(), k / BK) * BK, end = first_step(split() + 1, k / BK) * BK;
    fetch(from);
    [[dont_unroll]] for (uint kk = from; kk < end; kk += BK) {
        barrier();
        [[unroll]] for (uint i = 0; i < MOVES_A; i++) put_a(i, next_a[i]);
        [[unroll]] for (uint i = 0; i < MOVES_B; i++) put_b(i, next_b[i]);
        barrier();
        fetch(min(kk + BK, k - BK));
        multiply();
    }
}

#include "matrix_lora.glsl"

// v_eight is eight of the shrunk inputs of a row in part h.
uvec4 v_eight(uint m, uint h, uint r, uint rank) {
    const uint at = (m * count + number + h) * v_stride + r;
    return uvec4(r < rank ? pack_act(load_f32(v, at)) : uvec2(0), r + 4 < rank ? pack_act(load_f32(v, at + 4)) : uvec2(0));
}

// b_eight_of is eight numbers of B's row of a column.
uvec4 b_eight_of(Slot s, uint i, uint r) {
    ACT b = s.b;
    const uint at = (column_of(i) * s.rank + r) / 4;
    return uvec4(r < s.rank ? b.v[at] : uvec2(0), r + 4 < s.rank ? b.v[at + 1] : uvec2(0));
}

// expand adds the LoRA products of the rows from first to end - 1 of the tile,
// which have the slot: of both parts in one go, each in its share of a piece.
void expand(int slot, uint first, uint end) {
    const uint share = BK / HALVES;
    Slot s[HALVES];
    uint rank = 0;
    [[unroll]] for (uint h = 0; h < HALVES; h++) {
        s[h] = part[h].slots.v[slot];
        if (IS_NULL(s[h].b)) s[h].rank = 0;
        rank = max(rank, s[h].rank);
    }
    [[dont_unroll]] for (uint from = 0; from < rank; from += share) {
        const uint h = a_eight() / share, ra = from + a_eight() % share, rb = from + b_eight() % share;
        barrier();
        [[unroll]] for (uint i = 0; i < MOVES_A; i++) {
            const bool its = ADAPTERS == ALIKE || a_row(i) >= first && a_row(i) < end;
            put_a(i, its ? v_eight(row_of(a_row(i)), h, ra, s[h].rank) : uvec4(0));
        }
        [[unroll]] for (uint i = 0; i < MOVES_B; i++)
            put_b(i, half_of(i) == b_eight() / share ? kept_apart(b_eight_of(s[half_of(i)], i, rb), first, end) : uvec4(0));
        barrier();
        multiply();
    }
}

void adapters() {
    uint run = 0;
    for (uint first = 0; first < tile_rows(rows, row); run++) {
        const uint end = run_end(rows, row, first);
        const int slot = slot_in_tile[first];
        if (slot >= 0 && takes_run(run)) expand(slot, first, end);
        first = end;
    }
}

// settle applies DoRA's gain and the bias to four finished sums of part h.
vec4 settle(vec4 sum, uint m, uint h, uint c) {
    if (ADAPTERS != NONE && gains == 1 && slots.v[m] >= 0) {
        Floats gain = part[h].slots.v[slots.v[m]].gain;
        if (!IS_NULL(gain)) sum *= load_f32(F32(uvec2(gain)), c);
    }
    if (!IS_NULL(part[h].bias)) sum += load_f32(F32(uvec2(part[h].bias)), c);
    return sum;
}

void finish(uint m, uint c, vec4 sum, vec4 other) {
    if (m >= rows || column + c >= part[0].n) return;
    c += column;
    sum = settle(sum, m, 0, c);
    if (GATED) {
        other = settle(other, m, HALVES - 1, c);
        store_act(ACT(y), m * y_stride + c, sum / (1.0 + exp(-sum)) * other);
        if (EPILOGUE == SILU_KEEP) {
            store_act(keep, 2 * m * y_stride + c, sum);
            store_act(keep, (2 * m + 1) * y_stride + c, other);
        }
        return;
    }
    const uint at = m * y_stride + part[0].offset + c;
    store_f32(F32(y), at, EPILOGUE == ADD ? load_f32(F32(y), at) + sum : sum);
}

// finish_piece finishes, or leaves to the tile's last workgroup, rows of the tile that piece gave.
void finish_piece(uint i) {
    const uint wide = SHARED == 1 ? BN : WIDE;
    [[unroll]] for (uint e = 0; e < PIECE * wide / 4; e += WG) {
        const uint at = e + gl_LocalInvocationIndex, r = at / (wide / 4), c = at % (wide / 4) * 4;
        if (r >= PIECE) break;
        const uint in_tile = piece_row(i, r);
        const vec4 sum = whole(sum_of(r, c), in_tile);
        if (SHARED == 1) leave(in_tile, c, sum);
        else finish(row + in_tile, c, sum, GATED ? sum_of(r, c + WIDE) : vec4(0));
    }
}

// finish_shared finishes the tile from what all its workgroups left.
void finish_shared() {
    Total total;
    gather(total);
    [[unroll]] for (uint i = 0; i < EACH; i++) {
        const uvec2 place = place_of(i);
        if (place.x < BM) finish(row + place.x, place.y, total.sum[i], total.sum[(HALVES - 1) * EACH + i]);
    }
}

void main() {
    if (!locate()) return;
    start();
    clear();
    base_product();
    if (ADAPTERS != NONE) {
        look_up_slots(slots, rows, row);
        adapters();
    }
    [[unroll]] for (uint i = 0; i < FM; i++) {
        piece(i);
        finish_piece(i);
    }
    if (SHARED == 1 && last_to_finish(counters, tile_number(), splits)) finish_shared();
}
