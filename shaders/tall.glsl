// The shrinks of many rows: lanes over what is summed up, each with the sums of
// ROWS rows by four times QUADS ranks, which are then added over the lanes. The
// including kernel fills acc[row * QUADS + quad].
const uint CELLS = ROWS * QUADS, WIDE = WG + 1; // a column apart: neighbours lie in different banks
const uint CUTS = WG >= CELLS ? WG / CELLS : 1; // lanes that add up one cell

shared vec4 lanes[CELLS * WIDE];
shared vec4 cuts[CELLS * CUTS];
vec4 acc[CELLS];

// add_lanes adds acc over the lanes, in their order; afterwards cell() has the sums.
void add_lanes() {
    const uint me = gl_LocalInvocationID.x, each = (WG + CUTS - 1) / CUTS;
    for (uint j = 0; j < CELLS; j++) lanes[j * WIDE + me] = acc[j];
    barrier();
    for (uint e = me; e < CELLS * CUTS; e += WG) {
        const uint from = e % CUTS * each;
        vec4 sum = vec4(0);
        for (uint i = from; i < min(from + each, WG); i++) sum += lanes[e / CUTS * WIDE + i];
        cuts[e] = sum;
    }
    barrier();
}

vec4 cell(uint j) {
    vec4 sum = vec4(0);
    for (uint i = 0; i < CUTS; i++) sum += cuts[j * CUTS + i];
    return sum;
}
