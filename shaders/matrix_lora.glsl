// The adapters' side of a tile on cooperative matrices: runs of rows of one
// slot, and keeping adapters apart. A run's product is computed for the whole tile,
// with zeros in the place of other rows' inputs. An adapter with infinite numbers
// would still spoil those, since 0 * Inf is not a number: in tiles of several adapters such
// numbers are left out, and the run's own rows become NaN instead.
shared int slot_in_tile[ADAPTERS == NONE ? 1 : BM];
shared bool spoiled[ADAPTERS == MIXED ? BM : 1];

uint tile_rows(uint rows, uint row) { return min(BM, rows - row); }

void look_up_slots(Ints slots, uint rows, uint row) {
    for (uint i = gl_LocalInvocationIndex; i < BM; i += WG) {
        slot_in_tile[i] = slots.v[min(row + i, rows - 1)];
        if (ADAPTERS == MIXED) spoiled[i] = false;
    }
    barrier();
}

// run_end is the row behind the run of one slot that begins at a row of the tile.
uint run_end(uint rows, uint row, uint first) {
    const uint all = tile_rows(rows, row);
    if (ADAPTERS == ALIKE) return all;
    uint end = first + 1;
    while (end < all && slot_in_tile[end] == slot_in_tile[first]) end++;
    return end;
}

// finite tells whether two packed numbers are.
bool finite(uint pair) {
    return (pair & EXPONENT) != EXPONENT && (pair >> 16 & EXPONENT) != EXPONENT;
}

// kept_apart is an adapter's eight numbers as they may be multiplied with all rows of the tile.
uvec4 kept_apart(uvec4 eight, uint first, uint end) {
    if (ADAPTERS != MIXED || finite(eight.x) && finite(eight.y) && finite(eight.z) && finite(eight.w)) return eight;
    for (uint i = first; i < end; i++) spoiled[i] = true;
    return uvec4(0);
}

// whole is a finished sum of a row of the tile.
vec4 whole(vec4 sum, uint i) { return ADAPTERS == MIXED && spoiled[i] ? vec4(uintBitsToFloat(0x7fc00000u)) : sum; }
