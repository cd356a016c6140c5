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
shared float partial[SPLIT_K == 1 ? WG * TM * RANKS : 1];
float acc[TM * RANKS];

#include "ranks.glsl"

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
            for (uint c = 0; c < RANKS; c++) shrink_store(r[c], t, i, row_scale(i) * acc[i * RANKS + c]);
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
        shrink_store(rank_at(t, from + j % RANKS), t, j / RANKS, row_scale(j / RANKS) * partial[j * WG]);
}
