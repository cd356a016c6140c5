// LANES invocations share a query or a key, each holding every LANES-th vec4 of
// the head (SPLIT_HEAD: their dot products are summed by subgroup shuffles). Loops
// over what an invocation holds are unrolled by demand: left to itself, Mesa
// keeps those of large heads as loops, their arrays in memory, several times slower.
layout(constant_id = 2) const uint LANES = 1;
layout(constant_id = 3) const uint PER = 1; // keys or queries taken at a time: 1, 2 or 4
const uint HELD = HEAD / 4 / LANES;

vec4 across(vec4 s) {
#ifdef SPLIT_HEAD
    for (uint l = 1; l < LANES; l *= 2) s += subgroupShuffleXor(s, l);
#endif
    return s;
}
