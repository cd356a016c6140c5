// What attention's gradients over a subgroup's cooperative matrices share. A
// workgroup's subgroups each take T rows of scores, queries or keys, and walk the
// columns, STEP at a time, two 16-bit rows of a head for each, staged in shared memory
// while those of the step before are multiplied. The rows stay in registers.
layout(constant_id = 2) const uint T = 16;        // rows and columns of a fragment
layout(constant_id = 3) const uint SUBGROUPS = 4;
layout(constant_id = 4) const uint STEP = 32;
layout(constant_id = 5) const uint STAGES = 1;    // buffers of staged columns
layout(constant_id = 6) const uint HEADS = 1;     // query heads of a workgroup
#include "attention_matrix.glsl"

const uint LANES = WG / SUBGROUPS, ROWS = T * SUBGROUPS, DEPTH = HEAD / T;
const uint PAIR = 2 * STEP * STRIDE;              // uvec4 of a step's columns
const uint SQUARE = T * T / 4;                    // uvec4 of a fragment of float32

const float LOG2E = 1.4426950408889634;
// Gradients are lifted into float16's range, and results put down again.
const float LIFT = 256;

// counts tells whether a pair of a row and a column is one of query and key;
// columns from end on are not of the sequence.
bool counts(uint row, uint column, uint end);

#ifdef REGISTERS
float counted(const in uint row, const in uint column, const in float s, const in uint row0, const in uint column0, const in uint end) {
    return counts(row0 + row, column0 + column, end) ? s : 0;
}

// left makes sums a left operand; at an edge with 0 where pairs do not count.
LEFT left(SUM s, bool edge, uint row, uint column, uint end) {
    if (edge) coopMatPerElementNV(s, s, counted, row, column, end);
    return operand(s, true);
}
#else
shared uvec4 scratch[SUBGROUPS * SQUARE];

LEFT left(SUM s, bool edge, uint row, uint column, uint end) {
    const uint at = gl_SubgroupID * SQUARE, i = gl_SubgroupInvocationID, each = T * T / 8;
    subgroupBarrier();
    coopMatStore(s, scratch, at, T / 4, ROWS_FIRST);
    subgroupBarrier();
    uvec4 eight;
    if (i < each) {
        vec4 a = uintBitsToFloat(scratch[at + 2 * i]), b = uintBitsToFloat(scratch[at + 2 * i + 1]);
        if (edge)
            [[unroll]] for (uint e = 0; e < 4; e++) {
                uint r = row + i / (T / 8), c = column + i % (T / 8) * 8 + e;
                if (!counts(r, c, end)) a[e] = 0;
                if (!counts(r, c + 4, end)) b[e] = 0;
            }
        eight = packed(a, b);
    }
    subgroupBarrier();
    if (i < each) scratch[at + i] = eight;
    subgroupBarrier();
    LEFT f;
    coopMatLoad(f, scratch, at, T / 8, ROWS_FIRST);
    return f;
}
#endif
