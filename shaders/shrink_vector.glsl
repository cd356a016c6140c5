// The shrink of a tile of few rows on a GPU, where the bound is reading A: a
// workgroup computes RANKS ranks for the TM rows of a tile, its lanes over K by 16
// bytes, RANKS * DEPTH loads of each lane under way at a time. Included by kernels
// that know their X: input_of(i, row, at) gives four inputs of row i of the tile, and may
// gather their squares; row_scale(i) is a factor of row i.
#include "ranks.glsl"

const uint WG = gl_WorkGroupSize.x, PER = ACT_PER;
const uint SUMS = TM * RANKS + TM; // the squares at the end
shared float shares[WG * SUMS / 4]; // of each subgroup, of at least four lanes
float acc[TM * RANKS];
float squares[TM];

// What the tile's adapter has in each part, looked up for all parts at once: one
// after the other the workgroup would wait for as many loads as there are parts.
uint ranks_of[MOST_PARTS];
uvec2 a_of[MOST_PARTS];
float scale_of[MOST_PARTS];

// look_up returns how many ranks the parts have together.
uint look_up(int slot) {
    uint all = 0;
    [[unroll]] for (uint p = 0; p < MOST_PARTS; p++) {
        Slot s = parts.v[min(p, count - 1)].slots.v[slot];
        a_of[p] = uvec2(s.a);
        scale_of[p] = s.scale;
        ranks_of[p] = p < count && !IS_NULL(s.a) ? s.rank : 0;
        all += ranks_of[p];
    }
    return all;
}

// nth_rank is rank_at of what was looked up.
Rank nth_rank(uint n) {
    Rank found = Rank(uvec2(0), 0, 0, 0, false);
    uint before = 0;
    [[unroll]] for (uint p = 0; p < MOST_PARTS; p++) {
        if (n >= before && ranks_of[p] > 0) found = Rank(a_of[p], p, min(n - before, ranks_of[p] - 1), scale_of[p], n < before + ranks_of[p]);
        before += ranks_of[p];
    }
    return found;
}

// add_up makes the lanes' sums the workgroup's.
void add_up() {
    const uint at = gl_SubgroupID * SUMS;
    [[unroll]] for (uint j = 0; j < SUMS; j++) {
        const float s = subgroupAdd(j < TM * RANKS ? acc[j] : squares[j - TM * RANKS]);
        if (gl_SubgroupInvocationID == 0) shares[at + j] = s;
    }
    barrier();
}

float sum_of(uint j) {
    float s = 0;
    for (uint i = 0; i < gl_NumSubgroups; i++) s += shares[i * SUMS + j];
    return s;
}

void shrink(Tile t, uint first) {
    const uint lane = gl_LocalInvocationID.x;
    Rank r[RANKS];
    [[unroll]] for (uint c = 0; c < RANKS; c++) r[c] = nth_rank(first + c);
    [[unroll]] for (uint j = 0; j < TM * RANKS; j++) acc[j] = 0;
    [[unroll]] for (uint i = 0; i < TM; i++) squares[i] = 0;
    for (uint from = lane; from < k / PER; from += WG * DEPTH) {
        uvec4 raw[RANKS * DEPTH];
        [[unroll]] for (uint d = 0; d < DEPTH; d++) {
            const uint at = from + d * WG;
            [[unroll]] for (uint c = 0; c < RANKS; c++)
                raw[d * RANKS + c] = at < k / PER ? Sixteen(r[c].a).v[r[c].index * (k / PER) + at] : uvec4(0);
        }
        [[unroll]] for (uint d = 0; d < DEPTH; d++) {
            const uint at = from + d * WG;
            if (at >= k / PER) break;
            [[unroll]] for (uint q = 0; q < PER / 4; q++)
                [[unroll]] for (uint i = 0; i < TM; i++) {
                    const vec4 x = input_of(i, t.row + min(i, t.rows - 1), at * PER + q * 4);
                    [[unroll]] for (uint c = 0; c < RANKS; c++) acc[i * RANKS + c] += dot(x, act_of(raw[d * RANKS + c], q));
                }
        }
    }
    add_up();
    for (uint j = lane; j < TM * RANKS; j += WG)
        shrink_store(nth_rank(first + j % RANKS), t, j / RANKS, row_scale(j / RANKS) * sum_of(j));
}
