#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// Picks a token for each row of logits, and tells log-probabilities. Order:
// log-probabilities of the raw logits; penalties and bias; temperature; top-k; top-p;
// min-p; then the Gumbel-max trick, which draws from the softmax over what is left with one
// pass and no prefix sum. Draws depend on (seed, step, token) alone: not on the batch, the
// row or the workgroups.
//
// The workgroups of a row share one pass over it, which finds the largest logit, the sum of
// exponentials and, where nothing is left out and nothing edited, the draw. The last one to
// finish merges what they found and does what else is asked for by itself.
#include "storage.glsl"

layout(local_size_x_id = 0) in;
const uint WG = gl_WorkGroupSize.x;

struct Row { // 64 bytes; mirrored by engine/op_sample.go
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
#include "share.glsl"
#include "last.glsl"

layout(push_constant) uniform Push {
    Floats logits;  // [., vocab]; rows with edits are changed
    Rows rows;      // [gl_NumWorkGroups.x]
    Edits edits;
    Ints out_ids;   // [., stride]: the token, then the top_n
    Floats out_logs; // beside out_ids
    Shares shares;  // [rows, gl_NumWorkGroups.y]; null with one workgroup a row
    Counters counters; // [rows], zero before and after; beside shares
    uint vocab, stride;
};

const float NONE = -3.4e38;
const uint NO_TOKEN = 0xffffffffu;

#include "reduce.glsl"
#include "best.glsl"
#include "philox.glsl"
#include "scan.glsl"
#include "threshold.glsl"

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

// draw chooses from a row of which something is edited or left out.
uint draw(Row r, uint at) {
    float top;
    uint best = best_after(at, -NONE, NO_TOKEN, top);
    if (r.temperature <= 0 || best == NO_TOKEN) return best;
    return drawn(r, at, 0, vocab, threshold_of(r, at, top, 1.0 / r.temperature), top);
}

// choose is the token of a row of which all is known that a pass tells.
uint choose(Row r, uint at, Share s) {
    if (r.target >= 0) return uint(r.target);
    if (r.edits == 0 && r.temperature <= 0) return s.id;
    if (whole(r)) return s.drawn;
    if (r.edits > 0) apply_edits(r, at);
    return draw(r, at);
}

void main() {
    const uint row = gl_WorkGroupID.x, lane = gl_LocalInvocationID.x, to = row * stride;
    const uint parts = gl_NumWorkGroups.y, part = (vocab + parts - 1) / parts, from = min(gl_WorkGroupID.y * part, vocab);
    const Row r = rows.v[row];
    const uint at = r.logits_row * vocab;
    Share s = scan(r, at, from, min(from + part, vocab));
    if (parts > 1) {
        if (lane == 0) shares.v[row * parts + gl_WorkGroupID.y] = s;
        if (!last_to_finish(counters, row, parts)) return;
        s = merged(row * parts);
    }
    const float spread = log(s.total); // apart from the top: near it, sums of both would lose digits
    float value = s.top;
    uint id = s.id;
    for (uint i = 1; i <= r.top_n; i++) {
        if (lane == 0) {
            out_ids.v[to + i] = int(id);
            out_logs.v[to + i] = value - s.top - spread;
        }
        id = best_after(at, value, id, value);
    }
    const uint token = choose(r, at, s);
    if (lane != 0) return;
    out_ids.v[to] = int(token);
    out_logs.v[to] = token < vocab ? raw_logit(r, at, token) - s.top - spread : 0.0;
}
