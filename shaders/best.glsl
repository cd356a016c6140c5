// The best of a workgroup's lanes, beside reduce.glsl.
shared uint scratch_id[WG];

// prefer keeps the better of two lanes' candidates in the first.
void prefer(uint a, uint b) {
    if (scratch[b] < scratch[a] || (scratch[b] == scratch[a] && scratch_id[b] >= scratch_id[a])) return;
    scratch[a] = scratch[b];
    scratch_id[a] = scratch_id[b];
}

// best_of_lanes: the largest value, of equal ones the smallest id.
uint best_of_lanes(float x, uint id, out float best) {
    const uint lane = gl_LocalInvocationID.x;
    barrier();
    scratch[lane] = x;
    scratch_id[lane] = id;
    barrier();
    for (uint h = WG / 2; h > 0; h /= 2) {
        if (lane < h) prefer(lane, lane + h);
        barrier();
    }
    best = scratch[0];
    return scratch_id[0];
}
