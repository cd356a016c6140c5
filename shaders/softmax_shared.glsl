// softmax_registers.glsl for devices whose fragments cannot be reduced or converted:
// scores pass through shared memory, where lanes have rows.
const uint SCORES = STEP / 4 + 1; // uvec4 of a row of scores
// Each subgroup's own rows of scores, where probabilities replace them, and
// behind them a fragment of factors. SHARE lanes share a row.
const uint SHARE = LANES / T, AREA = UNITS * T * SCORES + SQUARE;
shared uvec4 scores[SUBGROUPS * AREA];
float top[UNITS], total[UNITS]; // of a row: its largest score; the lane's part of its sum

float across_max(float x) {
    for (uint d = 1; d < SHARE; d *= 2) x = max(x, subgroupShuffleXor(x, d));
    return x;
}

float across_sum(float x) {
    for (uint d = 1; d < SHARE; d *= 2) x += subgroupShuffleXor(x, d);
    return x;
}

void start_softmax() {
    [[unroll]] for (uint u = 0; u < UNITS; u++) {
        top[u] = LOWEST;
        total[u] = 0;
    }
}

// by_row multiplies the rows of a fragment's accumulators by a factor of each.
void by_row(uint u, float factor) {
    const uint at = gl_SubgroupID * AREA + UNITS * T * SCORES, row = gl_SubgroupInvocationID / SHARE;
    subgroupBarrier();
    for (uint i = gl_SubgroupInvocationID % SHARE; i < T / 4; i += SHARE) scores[at + row * (T / 4) + i] = uvec4(floatBitsToUint(factor));
    subgroupBarrier();
    SUM f;
    coopMatLoad(f, scores, at, T / 4, ROWS_FIRST);
    [[unroll]] for (uint d = 0; d < DEPTH; d++)
        [[unroll]] for (uint e = 0; e < f.length(); e++) acc[u * DEPTH + d][e] *= f[e];
}

void softmax(bool edge, uint low, uint key) {
    const float c = scale * LOG2E;
    const uint part = gl_SubgroupInvocationID % SHARE, row = gl_SubgroupInvocationID / SHARE;
    subgroupBarrier(); // probabilities of the step before have been read
    [[unroll]] for (uint i = 0; i < UNITS * WIDTH; i++)
        coopMatStore(score[i], scores, gl_SubgroupID * AREA + i / WIDTH * T * SCORES + i % WIDTH * (T / 4), SCORES, ROWS_FIRST);
    subgroupBarrier();
    [[unroll]] for (uint u = 0; u < UNITS; u++) {
        const uint at = gl_SubgroupID * AREA + (u * T + row) * SCORES, position = unit_low(low, u) + row;
        vec4 s[STEP / 4 / SHARE];
        float above = top[u];
        [[unroll]] for (uint i = 0; i < STEP / 4 / SHARE; i++) {
            uint quad = i / 2 * 2 * SHARE + part * 2 + i % 2; // eight keys in a row, for packing
            s[i] = uintBitsToFloat(scores[at + quad]);
            if (edge)
                [[unroll]] for (uint e = 0; e < 4; e++) {
                    uint k = key + quad * 4 + e;
                    if (k > position || (window > 0 && k + window <= position)) s[i][e] = MASKED;
                }
            above = max(above, max(max(s[i].x, s[i].y), max(s[i].z, s[i].w)));
        }
        above = across_max(above);
        float shrunk = exp2((top[u] - above) * c), sum = 0;
        top[u] = above;
        subgroupBarrier();
        [[unroll]] for (uint i = 0; i < STEP / 4 / SHARE; i += 2) {
            vec4 a = exp2(s[i] * c - above * c), b = exp2(s[i + 1] * c - above * c);
            sum += dot(a + b, vec4(1));
            scores[at + i / 2 * SHARE + part] = packed(a, b);
        }
        total[u] = total[u] * shrunk + sum;
        by_row(u, shrunk);
    }
}

LEFT probability(uint u, uint j) {
    LEFT f;
    coopMatLoad(f, scores, gl_SubgroupID * AREA + u * T * SCORES + j * (T / 8), SCORES, ROWS_FIRST);
    return f;
}

void divide(uint u, uint at) {
    const float whole = across_sum(total[u]);
    by_row(u, 1 / whole);
    if (STATS == 1 && gl_SubgroupInvocationID % SHARE == 0)
        staged[at + gl_SubgroupInvocationID / SHARE * (T / 4)].x = floatBitsToUint(top[u] * scale + log(whole));
}
