// The least logit that top-k, top-p and min-p keep. Thresholds are searched bit
// by bit over the ordered floats, a pass over the row for each bit; ties at a threshold are
// all kept. Needs Row, logits, vocab and reduce.glsl.

// Floats as integers in the same order.
uint ordered(float f) {
    uint u = floatBitsToUint(f);
    return (u & 0x80000000u) != 0 ? ~u : u | 0x80000000u;
}

float unordered(uint u) { return uintBitsToFloat((u & 0x80000000u) != 0 ? u & 0x7fffffffu : ~u); }

// mass of the tokens at or above a threshold: their number, or with
// weighted their probability up to a common factor.
float mass(uint at, float threshold, float top, float inverse_t, bool weighted) {
    float s = 0;
    for (uint i = gl_LocalInvocationID.x; i < vocab; i += WG) {
        float l = logits.v[at + i];
        if (l >= threshold) s += weighted ? exp((l - top) * inverse_t) : 1.0;
    }
    return sum_of_lanes(s);
}

// highest threshold above floor_at that keeps at least the wanted mass.
float search(uint at, float floor_at, float top, float inverse_t, bool weighted, float wanted) {
    uint low = ordered(floor_at), high = ordered(top);
    while (low < high) {
        uint middle = low + (high - low + 1) / 2;
        if (mass(at, unordered(middle), top, inverse_t, weighted) >= wanted) low = middle;
        else high = middle - 1;
    }
    return unordered(low);
}

float threshold_of(Row r, uint at, float top, float inverse_t) {
    float t = NONE;
    if (r.top_k > 0 && r.top_k < vocab) t = search(at, t, top, 1, false, float(r.top_k));
    if (r.top_p < 1) t = search(at, t, top, inverse_t, true, r.top_p * mass(at, t, top, inverse_t, true));
    if (r.min_p > 0) t = max(t, top + log(r.min_p) / inverse_t);
    return t;
}
