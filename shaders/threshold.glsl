// The least logit that top-k, top-p and min-p keep. Thresholds are searched over the
// ordered floats: each pass over the row tries some at once and leaves the range between
// two of them. Ties at a threshold are all kept. Needs Row, logits, vocab and reduce.glsl.

// A GPU waits for memory, a software device computes.
const uint TRIED = WG <= SMALL ? 1 : 7;

// Floats as integers in the same order.
uint ordered(float f) {
    uint u = floatBitsToUint(f);
    return (u & 0x80000000u) != 0 ? ~u : u | 0x80000000u;
}

float unordered(uint u) { return uintBitsToFloat((u & 0x80000000u) != 0 ? u & 0x7fffffffu : ~u); }

// masses of the tokens at or above each threshold: their number, or with
// weighted their probability up to a common factor.
void masses(uint at, float thresholds[TRIED], float top, float inverse_t, bool weighted, out float sums[TRIED]) {
    for (uint j = 0; j < TRIED; j++) sums[j] = 0;
    for (uint i = gl_LocalInvocationID.x; i < vocab; i += WG) {
        const float l = logits.v[at + i];
        if (!(l >= thresholds[0])) continue;
        const float weight = weighted ? exp((l - top) * inverse_t) : 1.0;
        for (uint j = 0; j < TRIED; j++) sums[j] += l >= thresholds[j] ? weight : 0.0;
    }
    for (uint j = 0; j < TRIED; j++) sums[j] = sum_of_lanes(sums[j]);
}

// search returns the highest threshold from floor_at on that keeps at least an amount:
// that many tokens, or with weighted that share of the probability from the floor on.
float search(uint at, float floor_at, float top, float inverse_t, bool weighted, float amount) {
    uint low = ordered(floor_at), high = ordered(top);
    float wanted = weighted ? -1 : amount; // the first pass tells it
    while (low < high || wanted < 0) {
        const uint apart = wanted < 0 ? 0 : (high - low) / (TRIED + 1) + 1;
        float thresholds[TRIED], sums[TRIED];
        for (uint j = 0; j < TRIED; j++) thresholds[j] = unordered(min(low + (j + 1) * apart, high));
        masses(at, thresholds, top, inverse_t, weighted, sums);
        if (wanted < 0) {
            wanted = amount * sums[0];
            continue;
        }
        uint kept = 0; // thresholds that keep enough
        while (kept < TRIED && sums[kept] >= wanted) kept++;
        if (kept < TRIED) high = min(low + (kept + 1) * apart, high) - 1;
        low = min(low + kept * apart, high);
    }
    return unordered(low);
}

float threshold_of(Row r, uint at, float top, float inverse_t) {
    float t = NONE;
    [[dont_unroll]] for (uint p = 0; p < 2; p++) { // one after the other, and compiled once
        const bool weighted = p == 1;
        if (weighted ? r.top_p >= 1 : r.top_k == 0 || r.top_k >= vocab) continue;
        t = search(at, t, top, inverse_t, weighted, weighted ? r.top_p : float(r.top_k));
    }
    if (r.min_p > 0) t = max(t, top + log(r.min_p) / inverse_t);
    return t;
}
