// What the products for few rows share: the push block, as linear.comp has it with
// the norm of its input added, which columns of which part a tile has, and the epilogue.
// Included by kernels that define COLUMNS, the columns of a tile, EPILOGUE and ADAPTERS.
const uint PLAIN = 0, ADD = 1, SILU = 2, SILU_KEEP = 3; // EPILOGUE
const bool GATED = EPILOGUE == SILU || EPILOGUE == SILU_KEEP;
const uint HALVES = GATED ? 2 : 1, WIDE = COLUMNS / HALVES; // a tile's columns by part

layout(buffer_reference, std430, buffer_reference_align = 16) coherent buffer Shared { vec4 v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) coherent buffer Counters { uint v[]; };

layout(push_constant) uniform Push {
    uvec2 x;       // [rows, k] ACT; with NORM float32, the residual stream
    Parts parts;   // [count]
    F32 v;         // the shrink's result, scaled: [rows, count, v_stride]
    Ints slots;    // [rows] slot or -1 for the base; unused without adapters
    uvec2 y;       // [rows, y_stride], float32 or, with SILU, the activation type
    ACT keep;      // with SILU_KEEP [rows, 2 y_stride]: gate, then up
    uint rows, k, count, y_stride, v_stride;
    uint gains;    // 1 where some adapter of the step has a gain
    F32 g;         // with NORM: [k] RMSNorm's gain
    float eps;
    uint splits;       // linear_few: workgroups that share a tile's K
    Shared sums;       // with splits > 1: [tiles, splits, a tile]
    Counters counters; // and [tiles], zero between dispatches
};

Part part[HALVES];
uint number; // of part[0] among the product's
uint column; // the tile's first; with SILU of both parts

uint tiles_of(uint p) { return (parts.v[min(p, count - 1)].n + WIDE - 1) / WIDE; }

// locate finds the part and the columns of a tile, or tells that there are none left.
bool locate(uint tile) {
    number = 0;
    if (!GATED) {
        const uint one = tiles_of(0), two = one + tiles_of(1);
        number = uint(count > 1 && tile >= one) + uint(count > 2 && tile >= two);
        tile -= number == 0 ? 0 : number == 1 ? one : two;
    }
    [[unroll]] for (uint h = 0; h < HALVES; h++) part[h] = parts.v[number + h];
    column = tile * WIDE;
    return column < part[0].n;
}

// column_of is the output that column c of the tile computes.
uint column_of(uint c) { return min(column + c % WIDE, part[0].n - 1); }

// settled applies DoRA's gain and the bias to a finished sum.
float settled(uint m, uint h, uint c, float sum) {
    if (ADAPTERS != 0 && gains == 1 && slots.v[m] >= 0) {
        Floats gain = part[h].slots.v[slots.v[m]].gain;
        if (!IS_NULL(gain)) sum *= gain.v[column_of(c)];
    }
    if (!IS_NULL(part[h].bias)) sum += part[h].bias.v[column_of(c)];
    return sum;
}

// finish stores the sum of column c of the tile.
void finish(uint m, uint c, float sum) {
    if (m >= rows || column + c >= part[0].n) return;
    const uint at = m * y_stride + part[0].offset + column + c;
    sum = settled(m, 0, c, sum);
    Floats(y).v[at] = EPILOGUE == ADD ? Floats(y).v[at] + sum : sum;
}

// finish_gated stores columns c and c + 1, c even, of silu(gate) * up.
void finish_gated(uint m, uint c, vec2 gate, vec2 up) {
    if (m >= rows || column + c >= part[0].n) return;
    gate = vec2(settled(m, 0, c, gate.x), settled(m, 0, c + 1, gate.y));
    up = vec2(settled(m, 1, c, up.x), settled(m, 1, c + 1, up.y));
    store2_act(ACT(y), m * y_stride + column + c, gate / (1.0 + exp(-gate)) * up);
    if (EPILOGUE != SILU_KEEP) return;
    store2_act(keep, 2 * m * y_stride + column + c, gate);
    store2_act(keep, (2 * m + 1) * y_stride + column + c, up);
}
