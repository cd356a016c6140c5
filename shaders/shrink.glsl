// V = scale * X . A^T for the rows of one tile: up to TM consecutive rows of
// one adapter, so that A is read once for all of them. Included by the kernels
// that know their X: load_x(at, k) gives four inputs of the row that starts at
// row_start(row), gain_of(k) a factor of those inputs that all rows share, row_scale a
// factor of the row.
//
// Lanes over ranks (SPLIT_K = 0): a lane computes RANKS ranks, WG apart, for all
// rows. Lanes over K (SPLIT_K = 1): the workgroup computes RANKS ranks.
const uint APART = SPLIT_K == 1 ? 1 : WG;
shared float partial[SPLIT_K == 1 ? WG * TM * RANKS : 1];
float acc[TM * RANKS];

struct Tile { uint row, rows; int slot; };

Tile shrink_tile(uint i) { return Tile(tiles.v[3 * i], tiles.v[3 * i + 1], tiles.v[3 * i + 2]); }

// live is how many of the RANKS ranks from r0 on the adapter has.
void shrink_sums(Slot s, Tile t, uint r0, uint live, uint first, uint step) {
    uint at[TM];
    for (uint i = 0; i < TM; i++) at[i] = row_start(t.row + min(i, t.rows - 1));
    for (uint j = 0; j < TM * RANKS; j++) acc[j] = 0;
    uint row[RANKS];
    for (uint c = 0; c < RANKS; c++) row[c] = min(r0 + c * APART, s.rank - 1) * k;
    for (uint kk = first; kk < k; kk += step) {
        vec4 a[RANKS];
        for (uint c = 0; c < RANKS; c++) a[c] = c < live ? load_act(s.a, row[c] + kk) * gain_of(kk) : vec4(0);
        for (uint i = 0; i < TM; i++) {
            vec4 xk = load_x(at[i], kk);
            for (uint c = 0; c < RANKS; c++) acc[i * RANKS + c] += dot(xk, a[c]);
        }
    }
}

void shrink_store(Slot s, Tile t, uint p, uint i, uint r, float sum) {
    if (i < t.rows && r < s.rank) Floats(v).v[((t.row + i) * count + p) * v_stride + r] = s.scale * row_scale(t.row + i) * sum;
}

void shrink(uint tile, uint p, uint block) {
    const uint lane = gl_LocalInvocationID.x;
    Tile t = shrink_tile(tile);
    Slot s = parts.v[p].slots.v[t.slot];
    uint r0 = block * RANKS * APART;
    if (IS_NULL(s.a) || r0 >= s.rank) return; // the same for the whole workgroup
    const uint live = (s.rank - r0 + APART - 1) / APART;
    if (SPLIT_K == 0) {
        shrink_sums(s, t, r0 + lane, live, 0, 4);
        for (uint j = 0; j < TM * RANKS; j++) shrink_store(s, t, p, j / RANKS, r0 + lane + j % RANKS * WG, acc[j]);
        return;
    }
    shrink_sums(s, t, r0, live, lane * 4, WG * 4);
    for (uint j = 0; j < TM * RANKS; j++) partial[j * WG + lane] = acc[j];
    for (uint h = WG / 2; h > 0; h /= 2) {
        barrier();
        if (lane < h)
            for (uint j = 0; j < TM * RANKS; j++) partial[j * WG + lane] += partial[j * WG + lane + h];
    }
    barrier();
    for (uint j = lane; j < TM * RANKS; j += WG) shrink_store(s, t, p, j / RANKS, r0 + j % RANKS, partial[j * WG]);
}
