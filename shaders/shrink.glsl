// V = scale * X . A^T for the rows of one tile: up to TM consecutive rows of
// one adapter, so that A is read once for all of them. Included by the kernels
// that know their X: load_x(at, k) gives four inputs of the row that starts at
// row_start(row), gain_of(k) a factor of those inputs that all rows share, row_scale(i) a
// factor of row i of the tile.
//
// The ranks of all parts are counted through: a workgroup computes a block of
// them, of whichever parts they are, so that X is loaded once for all. Lanes over
// ranks (SPLIT_K = 0): a lane computes RANKS ranks, WG apart. Lanes over K
// (SPLIT_K = 1): the workgroup computes RANKS ranks.
const uint APART = SPLIT_K == 1 ? 1 : WG;
const uint MOST_PARTS = 3;
shared float partial[SPLIT_K == 1 ? WG * TM * RANKS : 1];
float acc[TM * RANKS];

struct Tile { uint row, rows; int slot; };

Tile shrink_tile(uint i) { return Tile(tiles.v[3 * i], tiles.v[3 * i + 1], tiles.v[3 * i + 2]); }

// Rank is one rank of one part.
struct Rank { uvec2 a; uint part, index; float scale; bool exists; };

// rank_at finds rank number n of all parts'.
Rank rank_at(Tile t, uint n) {
    Rank found = Rank(uvec2(0), 0, 0, 0, false);
    uint before = 0;
    for (uint p = 0; p < MOST_PARTS; p++) {
        if (p >= count) break;
        Slot s = parts.v[p].slots.v[t.slot];
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
        Slot s = parts.v[p].slots.v[t.slot];
        if (!IS_NULL(s.a)) n += s.rank;
    }
    return n;
}

// live is how many of the RANKS ranks exist for some lane.
void shrink_sums(Rank r[RANKS], Tile t, uint live, uint first, uint step) {
    uint at[TM];
    for (uint i = 0; i < TM; i++) at[i] = row_start(t.row + min(i, t.rows - 1));
    for (uint j = 0; j < TM * RANKS; j++) acc[j] = 0;
    if (SPLIT_K == 1 && first >= k) return;
    uint kk = first;
    do { // tested at the end: see linear.comp
        vec4 a[RANKS], g = gain_of(kk);
        for (uint c = 0; c < RANKS; c++) a[c] = c < live ? load_act(ACT(r[c].a), r[c].index * k + kk) * g : vec4(0);
        for (uint i = 0; i < TM; i++) {
            vec4 xk = load_x(at[i], kk);
            for (uint c = 0; c < RANKS; c++) acc[i * RANKS + c] += dot(xk, a[c]);
        }
        kk += step;
    } while (kk < k);
}

void shrink_store(Rank r, Tile t, uint i, float sum) {
    if (i < t.rows && r.exists) Floats(v).v[((t.row + i) * count + r.part) * v_stride + r.index] = r.scale * row_scale(i) * sum;
}

// has_block tells whether the tile's adapter has ranks in a block; a whole
// workgroup asks for the same.
bool has_block(Tile t, uint block) { return block * RANKS * APART < all_ranks(t); }

void shrink(Tile t, uint block) {
    const uint lane = gl_LocalInvocationID.x, from = block * RANKS * APART;
    const uint live = (all_ranks(t) - from + APART - 1) / APART;
    Rank r[RANKS];
    for (uint c = 0; c < RANKS; c++) r[c] = rank_at(t, from + c * APART + (SPLIT_K == 1 ? 0 : lane));
    if (SPLIT_K == 0) {
        shrink_sums(r, t, live, 0, 4);
        for (uint i = 0; i < TM; i++)
            for (uint c = 0; c < RANKS; c++) shrink_store(r[c], t, i, acc[i * RANKS + c]);
        return;
    }
    shrink_sums(r, t, live, lane * 4, WG * 4);
    for (uint j = 0; j < TM * RANKS; j++) partial[j * WG + lane] = acc[j];
    [[dont_unroll]] for (uint h = WG / 2; h > 0; h /= 2) {
        barrier();
        if (lane < h)
            for (uint j = 0; j < TM * RANKS; j++) partial[j * WG + lane] += partial[j * WG + lane + h];
    }
    barrier();
    for (uint j = lane; j < TM * RANKS; j += WG)
        shrink_store(rank_at(t, from + j % RANKS), t, j / RANKS, partial[j * WG]);
}
