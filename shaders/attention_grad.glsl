// What the two kernels of attention's backward share. With the probabilities
// p_ij = exp(scale q_i.k_j - stats_i), recomputed from the forward pass's statistics
// (Dao et al. 2022, section 3.1 and appendix B.4; Dao 2023, section 3.1):
//
//   delta_i = dy_i . y_i,   ds_ij = p_ij (dy_i . v_j - delta_i)
//   dq_i = scale sum_j ds_ij k_j,   dk_j = scale sum_i ds_ij q_i,   dv_j = sum_i p_ij dy_i
layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint HEAD = 32;
const uint WG = gl_WorkGroupSize.x, BLOCK = 16;

layout(push_constant) uniform Push {
    F32 q;          // [rows, heads * HEAD], rotated
    ACT keys;       // [blocks, kv_heads, 16, HEAD]
    ACT values;
    ACT y;          // [rows, heads * HEAD]: attention's output
    F32 dy;         // [rows, heads * HEAD]
    Floats stats;   // [rows, heads]: log of the sum of exp(score)
    Floats delta;   // [rows, heads]: written by grad_q, read by grad_kv
    F32 d;          // [rows, columns * HEAD]: gradients of q, k and v, those of k and v in partial sums where query heads are divided
    Ints tiles;     // [.] of (first row, queries, 0, start in tables): whole sequences
    Ints tables;    // block tables
    uint heads, kv_heads;
    float scale;    // 1 / sqrt(HEAD)
    uint window;    // keys a query sees, itself included; 0: all before it
    uint columns;   // heads of a row of d
};

// cell_of is where a key of a sequence begins in the cache.
uint cell_of(uint table, uint key, uint kv_head) {
    return ((uint(tables.v[table + key / BLOCK]) * kv_heads + kv_head) * BLOCK + key % BLOCK) * HEAD;
}

// sees tells whether a query attends to a key; both count from the sequence's start.
bool sees(uint query, uint key) { return key <= query && (window == 0 || key + window > query); }

// grad_at is where a head of a row of d begins.
uint grad_at(uint row, uint head) { return (row * columns + head) * HEAD; }
