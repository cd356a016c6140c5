#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// The product's gradient of linear_grad.comp for many rows, on cooperative matrices:
//   dX = sum over the parts of dY . W + U . A
// with 16-bit dY and W, and float32 sums. W [n, k] is staged by rows, as it is stored.
#define B_BY_ROWS
#include "storage.glsl"
#include "smlm.glsl"
#include "last.glsl"

layout(constant_id = 10) const uint ADAPTERS = 0;
layout(constant_id = 11) const uint SHARED = 0; // 1: workgroups share each tile, as matrix_share.glsl has it
const uint NONE = 0, ALIKE = 1, MIXED = 2; // as in linear_matrix.comp

layout(buffer_reference, std430, buffer_reference_align = 16) coherent buffer Sums { vec4 v[]; };

layout(push_constant) uniform Push {
    ACT dy;        // [rows, dy_stride], the parts side by side
    Parts parts;   // [count]
    F32 u;         // [rows, count, u_stride]
    Ints slots;    // [rows]; unused with NONE
    F32 dx;        // [rows, k]
    uint rows, k, count, dy_stride, u_stride;
    uint splits;       // with SHARED: workgroups that share a tile
    Sums sums;         // [tiles, splits, a tile]
    Counters counters; // [tiles], zero between dispatches
};

#include "matrix.glsl"

const uint HALVES = 1, WIDE = BN;

#include "matrix_share.glsl"
#include "matrix_lora.glsl"

layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Eights { uvec4 v[]; };

uint row, column;      // the tile's first
uint from_a[MOVES_A];  // eights of dY at the invocation's rows
uint from_b;           // of W and A at the invocation's columns

bool locate() {
    const uint along = (k + BN - 1) / BN;
    const uvec2 tile = tile_of(tile_number(), (rows + BM - 1) / BM, along);
    row = tile.x * BM;
    column = tile.y * BN;
    return row < rows && tile.y < along;
}

uint row_of(uint i) { return min(row + i, rows - 1); }

void start() {
    [[unroll]] for (uint i = 0; i < MOVES_A; i++) from_a[i] = (row_of(a_row(i)) * dy_stride + a_eight()) / 8;
    from_b = min(column + b_eight(), k - 8) / 8;
}

void fetch(Part part, uint n) {
    [[unroll]] for (uint i = 0; i < MOVES_A; i++) next_a[i] = Eights(uvec2(dy)).v[from_a[i] + (part.offset + n) / 8];
    [[unroll]] for (uint i = 0; i < MOVES_B; i++) next_b[i] = Eights(part.w).v[(n + b_row(i)) * (k / 8) + from_b];
}

// base_product goes through the outputs of all parts without a break, or through its share of them.
void base_product() {
    const uint steps = dy_stride / BK, first = first_step(split(), steps);
    uint p = 0, n = first * BK;
    Part part = parts.v[0];
    if (SHARED == 1)
        while (n >= part.n) {
            n -= part.n;
            part = parts.v[++p];
        }
    fetch(part, n);
    [[dont_unroll]] for (uint left = first_step(split() + 1, steps) - first; left > 0; left--) {
        barrier();
        [[unroll]] for (uint i = 0; i < MOVES_A; i++) put_a(i, next_a[i]);
        [[unroll]] for (uint i = 0; i < MOVES_B; i++) put_b(i, next_b[i]);
        barrier();
        n += BK;
        if (n == part.n) { // behind the last part the first one's weights are fetched, for nothing
            p = p + 1 < count ? p + 1 : 0;
            part = parts.v[p];
            n = 0;
        }
        fetch(part, n);
        multiply();
    }
}

// u_eight is eight of a row's shrunk gradients in part p.
uvec4 u_eight(uint m, uint p, uint r, uint rank) {
    const uint at = (m * count + p) * u_stride + r;
    return uvec4(r < rank ? pack_act(load_f32(u, at)) : uvec2(0), r + 4 < rank ? pack_act(load_f32(u, at + 4)) : uvec2(0));
}

// lora adds U . A for the rows from first to end - 1 of the tile, which have
// the slot: of all parts in one go, each in its share of a piece.
void lora(int slot, uint first, uint end) {
    const uint share = BK / 4; // there are at most three parts
    Slot s[3];
    uint rank = 0;
    [[unroll]] for (uint p = 0; p < 3; p++) {
        s[p] = parts.v[min(p, count - 1)].slots.v[slot];
        if (p >= count || IS_NULL(s[p].a)) s[p].rank = 0;
        rank = max(rank, s[p].rank);
    }
    [[dont_unroll]] for (uint from = 0; from < rank; from += share) {
        barrier();
        [[unroll]] for (uint i = 0; i < MOVES_A; i++) {
            const bool its = ADAPTERS == ALIKE || a_row(i) >= first && a_row(i) < end;
            const uint p = a_eight() / share;
            put_a(i, its && p < 3 ? u_eight(row_of(a_row(i)), p, from + a_eight() % share, s[p].rank) : uvec4(0));
        }
        [[unroll]] for (uint i = 0; i < MOVES_B; i++) {
            const uint p = b_row(i) / share, r = from + b_row(i) % share;
            const bool there = p < 3 && r < s[min(p, 2)].rank;
            put_b(i, there ? kept_apart(Eights(uvec2(s[p].a)).v[r * (k / 8) + from_b], first, end) : uvec4(0));
        }
        barrier();
        multiply();
    }
}

void adapters() {
    uint run = 0;
    for (uint first = 0; first < tile_rows(rows, row); run++) {
        const uint end = run_end(rows, row, first);
        const int slot = slot_in_tile[first];
        if (slot >= 0 && takes_run(run)) lora(slot, first, end);
        first = end;
    }
}

void finish(uint m, uint c, vec4 sum) {
    if (row + m < rows && column + c < k) store_f32(dx, (row + m) * k + column + c, sum);
}

// finish_shared finishes the tile from what all its workgroups left.
void finish_shared() {
    Total total;
    gather(total);
    [[unroll]] for (uint i = 0; i < EACH; i++) {
        const uvec2 place = place_of(i);
        if (place.x < BM) finish(place.x, place.y, total.sum[i]);
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
        [[unroll]] for (uint e = 0; e < PIECE * BN / 4; e += WG) {
            const uint at = e + gl_LocalInvocationIndex, r = at / (BN / 4), c = at % (BN / 4) * 4;
            if (r >= PIECE) break;
            const uint in_tile = piece_row(i, r);
            const vec4 sum = whole(sum_of(r, c), in_tile);
            if (SHARED == 1) leave(in_tile, c, sum);
            else finish(in_tile, c, sum);
        }
    }
    if (SHARED == 1 && last_to_finish(counters, tile_number(), splits)) finish_shared();
}
