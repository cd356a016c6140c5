// The online softmax of attention_prefill_matrix: scores become probabilities
// without their denominators, and the accumulators are scaled to the largest
// score so far. Tops are in the scores' own unit, before the scale.
//
// start_softmax, softmax, probability(unit, j): the operand of T keys, and
// divide(unit, at): accumulators become outputs, and the rows' statistics lie in
// the first column of a fragment of staged.
//
// Here scores stay in registers.
SUM top[UNITS], total[UNITS]; // rows' largest score, in every column; parts of rows' sums

float larger(const in float a, const in float b) { return max(a, b); }
float add(const in float a, const in float b) { return a + b; }

float seen(const in uint row, const in uint column, const in float s, const in uint low, const in uint key) {
    uint position = low + row, k = key + column;
    return k <= position && (window == 0 || k + window > position) ? s : MASKED;
}

void start_softmax() {
    [[unroll]] for (uint u = 0; u < UNITS; u++) {
        top[u] = SUM(LOWEST);
        total[u] = SUM(0);
    }
}

void softmax(bool edge, uint low, uint key) {
    const float c = scale * LOG2E;
    [[unroll]] for (uint u = 0; u < UNITS; u++) {
        if (edge)
            [[unroll]] for (uint j = 0; j < WIDTH; j++)
                coopMatPerElementNV(score[u * WIDTH + j], score[u * WIDTH + j], seen, unit_low(low, u), key + j * T);
        SUM most = score[u * WIDTH];
        [[unroll]] for (uint j = 1; j < WIDTH; j++)
            [[unroll]] for (uint e = 0; e < most.length(); e++) most[e] = max(most[e], score[u * WIDTH + j][e]);
        coopMatReduceNV(most, most, gl_CooperativeMatrixReduceRowNV, larger);
        SUM shrunk;
        [[unroll]] for (uint e = 0; e < most.length(); e++) {
            most[e] = max(most[e], top[u][e]);
            shrunk[e] = exp2((top[u][e] - most[e]) * c);
            total[u][e] *= shrunk[e];
        }
        top[u] = most;
        [[unroll]] for (uint j = 0; j < WIDTH; j++)
            [[unroll]] for (uint e = 0; e < most.length(); e++) {
                float p = exp2(fma(score[u * WIDTH + j][e], c, -most[e] * c));
                score[u * WIDTH + j][e] = p;
                total[u][e] += p;
            }
        [[unroll]] for (uint d = 0; d < DEPTH; d++)
            [[unroll]] for (uint e = 0; e < most.length(); e++) acc[u * DEPTH + d][e] *= shrunk[e];
    }
}

// Where a probability is not a number the rows' sums are not either.
LEFT probability(uint u, uint j) { return operand(score[u * WIDTH + j], false); }

void divide(uint u, uint at) {
    SUM whole = total[u], stat;
    coopMatReduceNV(whole, whole, gl_CooperativeMatrixReduceRowNV, add);
    [[unroll]] for (uint e = 0; e < whole.length(); e++) {
        stat[e] = top[u][e] * scale + log(whole[e]);
        whole[e] = 1 / whole[e];
    }
    [[unroll]] for (uint d = 0; d < DEPTH; d++)
        [[unroll]] for (uint e = 0; e < whole.length(); e++) acc[u * DEPTH + d][e] *= whole[e];
    if (STATS == 1) coopMatStore(stat, staged, at, T / 4, ROWS_FIRST);
}
