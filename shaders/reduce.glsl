// Reductions over a workgroup of WG invocations without subgroup operations:
// the same result for every subgroup size. All invocations must take part.
// A workgroup as small as a vector of a software device lets every lane sum
// everything: barriers cost more there than arithmetic.
shared float scratch[WG];
const uint SMALL = 16;

float sum_of_lanes(float x) {
    const uint lane = gl_LocalInvocationID.x;
    barrier();
    scratch[lane] = x;
    barrier();
    if (WG <= SMALL) {
        float s = 0;
        for (uint i = 0; i < WG; i++) s += scratch[i];
        return s;
    }
    for (uint h = WG / 2; h > 0; h /= 2) {
        if (lane < h) scratch[lane] += scratch[lane + h];
        barrier();
    }
    return scratch[0];
}

float max_of_lanes(float x) {
    const uint lane = gl_LocalInvocationID.x;
    barrier();
    scratch[lane] = x;
    barrier();
    if (WG <= SMALL) {
        float m = scratch[0];
        for (uint i = 1; i < WG; i++) m = max(m, scratch[i]);
        return m;
    }
    for (uint h = WG / 2; h > 0; h /= 2) {
        if (lane < h) scratch[lane] = max(scratch[lane], scratch[lane + h]);
        barrier();
    }
    return scratch[0];
}
