#version 460
#extension GL_GOOGLE_include_directive : require
// Picks a token for each row of logits, and tells log-probabilities. One
// workgroup per row. Order: log-probabilities of the raw logits; penalties and bias;
// temperature; top-k; top-p; min-p; then the Gumbel-max trick, which draws from
// the softmax over what is left with one pass and no prefix sum. Ties at a top-k or
// top-p threshold are all kept. Draws depend on (seed, step, token) alone: not on the
// batch, the row or the workgroup size.
#include "storage.glsl"

layout(local_size_x_id = 0) in;
const uint WG = gl_WorkGroupSize.x;

struct Row { // 64 bytes; mirrored by engine/sample.go
    float temperature;  // 0: greedy
    uint top_k;         // 0: all
    float top_p, min_p; // 1 and 0: all
    float repetition, presence, frequency; // 1, 0, 0: none
    uint seed_low, seed_high, step;
    uint edits_at, edits;
    uint top_n;         // log-probabilities wanted beside the chosen one
    int target;         // score this token instead of choosing one; -1: choose
    uint logits_row, pad;
};
struct Edit { // a token whose logit is changed; 16 bytes
    uint token;
    uint seen;          // times in the output, with the top bit: also in the prompt
    float bias;
    float raw;          // written: the logit before
};
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Rows { Row v[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Edits { Edit v[]; };

layout(push_constant) uniform Push {
    Floats logits;  // [., vocab]; rows with edits are changed
    Rows rows;      // [gl_NumWorkGroups.x]
    Edits edits;
    Ints out_ids;   // [., stride]: the token, then the top_n
    Floats out_logs; // beside out_ids
    uint vocab, stride;
};

#include "reduce.glsl"

shared uint scratch_id[WG];

// prefer keeps the better of two lanes' candidates in the first.
void prefer(uint a, uint b) {
    if (scratch[b] < scratch[a] || (scratch[b] == scratch[a] && scratch_id[b] >= scratch_id[a])) return;
    scratch[a] = scratch[b];
    scratch_id[a] = scratch_id[b];
}

// best_of_lanes: the largest value, of equal ones the smallest id.
uint best_of_lanes(float x, uint id, out float best) {
    const uint lane = gl_LocalInvocationID.x;
    barrier();
    scratch[lane] = x;
    scratch_id[lane] = id;
    barrier();
    for (uint h = WG / 2; h > 0; h /= 2) {
        if (lane < h) prefer(lane, lane + h);
        barrier();
    }
    best = scratch[0];
    return scratch_id[0];
}

const float NONE = -3.4e38;
const uint NO_TOKEN = 0xffffffffu;

// best_after finds the token that follows (value, id) in falling order.
uint best_after(uint at, float value, uint id, out float best) {
    float mine = NONE;
    uint mine_id = NO_TOKEN;
    for (uint i = gl_LocalInvocationID.x; i < vocab; i += WG) {
        float l = logits.v[at + i];
        bool after = l < value || (l == value && (id == NO_TOKEN || i > id));
        if (after && l > mine) {
            mine = l;
            mine_id = i;
        }
    }
    return best_of_lanes(mine, mine_id, best);
}

float log_total(uint at, float top) {
    float s = 0;
    for (uint i = gl_LocalInvocationID.x; i < vocab; i += WG) s += exp(logits.v[at + i] - top);
    return top + log(sum_of_lanes(s));
}

void apply_edits(Row r, uint at) {
    for (uint i = gl_LocalInvocationID.x; i < r.edits; i += WG) {
        Edit e = edits.v[r.edits_at + i];
        float l = logits.v[at + e.token];
        edits.v[r.edits_at + i].raw = l;
        float times = float(e.seen & 0x7fffffffu);
        if (e.seen != 0) l = l > 0 ? l / r.repetition : l * r.repetition;
        if (times > 0) l -= r.presence + r.frequency * times;
        logits.v[at + e.token] = l + e.bias;
    }
    memoryBarrierBuffer();
    barrier();
    memoryBarrierBuffer();
}

// raw_logit is a token's logit before the edits.
float raw_logit(Row r, uint at, uint token) {
    for (uint i = 0; i < r.edits; i++)
        if (edits.v[r.edits_at + i].token == token) return edits.v[r.edits_at + i].raw;
    return logits.v[at + token];
}

// Floats as integers in the same order, to search a threshold bit by bit.
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

// exponential variate of a token, -log(1 - u), where u in (0, 1) is the first
// word of Philox 4x32-10 (Salmon et al. 2011). Small variates win the draw, so
// they are the ones that must be exact: u keeps its precision near 0, and there a
// series stands in for log, which devices may give to no more than 2^-21 near 1.
float exponential(Row r, uint token) {
    uvec4 c = uvec4(token, r.step, 0, 0);
    uvec2 key = uvec2(r.seed_low, r.seed_high);
    for (uint i = 0; i < 10; i++) {
        uint high0, low0, high1, low1;
        umulExtended(0xD2511F53u, c.x, high0, low0);
        umulExtended(0xCD9E8D57u, c.z, high1, low1);
        c = uvec4(high1 ^ c.y ^ key.x, low1, high0 ^ c.w ^ key.y, low0);
        key += uvec2(0x9E3779B9u, 0xBB67AE85u);
    }
    float u = min((float(c.x) + 0.5) / 4294967296.0, 0.99999994); // 1 would give infinity
    return u < 0.01 ? u * (1 + u * (0.5 + u * (1.0 / 3 + u * 0.25))) : -log(1 - u);
}

uint draw(Row r, uint at) {
    float top;
    uint best = best_after(at, -NONE, NO_TOKEN, top);
    if (r.temperature <= 0 || best == NO_TOKEN) return best;
    float inverse_t = 1.0 / r.temperature, threshold = threshold_of(r, at, top, inverse_t);
    float mine = NONE;
    uint mine_id = NO_TOKEN;
    for (uint i = gl_LocalInvocationID.x; i < vocab; i += WG) {
        float l = logits.v[at + i];
        if (l < threshold) continue;
        float x = (l - top) * inverse_t - log(exponential(r, i));
        if (x > mine) {
            mine = x;
            mine_id = i;
        }
    }
    return best_of_lanes(mine, mine_id, top);
}

void main() {
    const uint row = gl_WorkGroupID.x, lane = gl_LocalInvocationID.x, to = row * stride;
    const Row r = rows.v[row];
    const uint at = r.logits_row * vocab;
    float value;
    uint id = best_after(at, -NONE, NO_TOKEN, value);
    const float total = log_total(at, value);
    for (uint i = 1; i <= r.top_n; i++) {
        if (lane == 0) {
            out_ids.v[to + i] = int(id);
            out_logs.v[to + i] = value - total;
        }
        id = best_after(at, value, id, value);
    }
    uint token = uint(r.target);
    if (r.target < 0) {
        if (r.edits > 0) apply_edits(r, at);
        token = draw(r, at);
    }
    if (lane != 0) return;
    out_ids.v[to] = int(token);
    out_logs.v[to] = token < vocab ? raw_logit(r, at, token) - total : 0.0;
}
