// Workgroups that share a matrix product's tile along the inner dimension, where
// tiles alone would leave most of the device idle: each leaves its sums in memory, and the
// last one to finish adds up all of them, in their order. Included behind matrix.glsl by
// kernels that define SHARED, 1 where there are such, HALVES and WIDE, the parts side by side
// in a tile and the columns of each, and whose push block names splits, sums and counters.

// Of a lane: that many times four columns of the tile, of each half.
const uint EACH = (BM * WIDE / 4 + WG - 1) / WG;

uint split() { return SHARED == 1 ? gl_WorkGroupID.z : 0; }
uint tile_number() { return gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x; }

// first_step is the first of the steps of BK along the inner dimension that a
// split takes; that of the next one is behind its last.
uint first_step(uint z, uint steps) { return SHARED == 1 ? z * steps / splits : z * steps; }

// takes_run tells whether the workgroup is the one of its tile's that adds a run
// of rows' adapter: they take turns, the last, whose steps are never more, first.
bool takes_run(uint run) { return SHARED == 0 || (run + split() + 1) % splits == 0; }

// sums_at is where a split's sums of the tile begin. They are sorted by halves.
uint sums_at(uint z) { return (tile_number() * splits + z) * (HALVES * BM * WIDE / 4); }

// leave puts four of the workgroup's sums, of row m and column c of the tile, where the last finds them.
void leave(uint m, uint c, vec4 sum) {
    sums.v[sums_at(split()) + (c / WIDE * BM + m) * (WIDE / 4) + c % WIDE / 4] = sum;
}

struct Total { vec4 sum[HALVES * EACH]; };

// gather adds up what the splits left: sum[h * EACH + i] are the lane's ith four of half h,
// those of place_of(i). All loads of a split are under way at once.
void gather(out Total total) {
    [[unroll]] for (uint i = 0; i < HALVES * EACH; i++) total.sum[i] = vec4(0);
    [[dont_unroll]] for (uint z = 0; z < splits; z++) {
        const uint from = sums_at(z);
        [[unroll]] for (uint h = 0; h < HALVES; h++)
            [[unroll]] for (uint i = 0; i < EACH; i++) {
                const uint at = min(i * WG + gl_LocalInvocationIndex, BM * WIDE / 4 - 1);
                total.sum[h * EACH + i] += sums.v[from + h * (BM * WIDE / 4) + at];
            }
    }
}

// place_of is the row and the column in the tile, and in its half, of the lane's
// ith four; the row is none where it has fewer.
uvec2 place_of(uint i) {
    const uint at = i * WG + gl_LocalInvocationIndex;
    return uvec2(at / (WIDE / 4), at % (WIDE / 4) * 4);
}
