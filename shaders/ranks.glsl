// The shrink's tiles, and the ranks of the adapters in a product's parts, counted
// through: 0 is the first of the first part's. Included by what shrinks.
const uint MOST_PARTS = 3;

struct Tile { uint row, rows; int slot; };

// Entries of lists are clamped, since newer llvmpipes load them also for workgroups and
// turns that are left at once, and a pointer that is none would be followed.
Tile shrink_tile(uint nr) {
    const uint i = min(nr, tile_count - 1);
    return Tile(tiles.v[3 * i], tiles.v[3 * i + 1], tiles.v[3 * i + 2]);
}

// Rank is one rank of one part.
struct Rank { uvec2 a; uint part, index; float scale; bool exists; };

// rank_at finds rank number n of all parts'.
Rank rank_at(Tile t, uint n) {
    Rank found = Rank(uvec2(0), 0, 0, 0, false);
    uint before = 0;
    for (uint p = 0; p < MOST_PARTS; p++) {
        if (p >= count) break;
        Slot s = parts.v[min(p, count - 1)].slots.v[t.slot];
        uint ranks = IS_NULL(s.a) ? 0 : s.rank;
        // The last rank stands in for those beyond it, so that every lane has
        // something to load.
        if (n >= before && ranks > 0) found = Rank(uvec2(s.a), p, min(n - before, ranks - 1), s.scale, n < before + ranks);
        before += ranks;
    }
    return found;
}

uint all_ranks(Tile t) {
    uint n = 0;
    for (uint p = 0; p < count; p++) {
        Slot s = parts.v[min(p, count - 1)].slots.v[t.slot];
        if (!IS_NULL(s.a)) n += s.rank;
    }
    return n;
}

// shrink_store stores the sum of rank r for row i of the tile.
void shrink_store(Rank r, Tile t, uint i, float sum) {
    if (i < t.rows && r.exists) Floats(v).v[((t.row + i) * count + r.part) * v_stride + r.index] = r.scale * sum;
}
