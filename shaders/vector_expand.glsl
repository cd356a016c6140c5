// The adapters' part of linear_vector: what a lane loads of B and V before the
// products and multiplies behind them, so that nothing waits for it. A lane of the team has four ranks.
uvec2 b_at[TM * HALVES];
uint rank_of[TM * HALVES]; // 0 where there is no adapter
vec4 v_of[TM * HALVES], b_of[TM * COLUMNS];

vec4 load_v(uint i, uint h, uint r) { return load_f32(v, (row_of(i) * count + number + h) * v_stride + r); }
vec4 load_b(uint i, uint h, uint c, uint r) { return load_act(ACT(b_at[i * HALVES + h]), column_of(c) * rank_of[i * HALVES + h] + r); }

void look_up() {
    const uint r = lane() * 4;
    [[unroll]] for (uint i = 0; i < TM; i++) {
        const int slot = slots.v[row_of(i)];
        [[unroll]] for (uint h = 0; h < HALVES; h++) {
            uvec2 b = uvec2(0);
            uint rank = 0;
            if (slot >= 0) {
                Slot s = part[h].slots.v[slot];
                b = uvec2(s.b);
                rank = IS_NULL(s.b) ? 0 : s.rank;
            }
            b_at[i * HALVES + h] = b;
            rank_of[i * HALVES + h] = rank;
            v_of[i * HALVES + h] = r < rank ? load_v(i, h, r) : vec4(0);
            [[unroll]] for (uint c = 0; c < WIDE; c++) b_of[i * COLUMNS + h * WIDE + c] = r < rank ? load_b(i, h, c, r) : vec4(0);
        }
    }
}

// expand is this lane's share of the adapters' part of a sum.
float expand(uint i, uint h, uint c) {
    float sum = dot(v_of[i * HALVES + h], b_of[i * COLUMNS + h * WIDE + c]);
    const uint first = lane() * 4, rank = rank_of[i * HALVES + h];
    for (uint r = first + lanes() * 4; r < rank + first; r += lanes() * 4)
        if (r < rank) sum += dot(load_v(i, h, r), load_b(i, h, c, r));
    return sum;
}
