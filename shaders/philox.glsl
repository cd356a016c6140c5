// Random numbers that depend on a seed and a counter alone.

// exponential variate number n of a (seed, step), -log(1 - u), where u in (0, 1)
// is the first word of Philox 4x32-10 (Salmon et al. 2011). Small variates win the
// draw, so they are the ones that must be exact: u keeps its precision near 0, and there a
// series stands in for log, which devices may give to no more than 2^-21 near 1.
float exponential(uvec2 seed, uint step, uint n) {
    uvec4 c = uvec4(n, step, 0, 0);
    uvec2 key = seed;
    for (uint i = 0; i < 10; i++) {
        uint high0, low0, high1, low1;
        umulExtended(0xD2511F53u, c.x, high0, low0);
        umulExtended(0xCD9E8D57u, c.z, high1, low1);
        c = uvec4(high1 ^ c.y ^ key.x, low1, high0 ^ c.w ^ key.y, low0);
        key += uvec2(0x9E3779B9u, 0xBB67AE85u);
    }
    float u = min((float(c.x) + 0.5) / 4294967296.0, 0.99999994); // 1 would give infinity
    return u < 0.01 ? u * (1 + u * (0.5 + u * (1.0 / 3 + u * 0.25))) : -log(1 - u);
}
