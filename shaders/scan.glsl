// The pass over a row of logits that its workgroups share.

// perturbed is a logit with its token's Gumbel noise: the largest one is drawn.
float perturbed(Row r, float logit, float inverse_t, uint token) {
    return logit * inverse_t - log(exponential(uvec2(r.seed_low, r.seed_high), r.step, token));
}

// whole tells whether a draw is from all tokens as they are.
bool whole(Row r) {
    return r.edits == 0 && r.top_p >= 1 && r.min_p <= 0 && (r.top_k == 0 || r.top_k >= vocab);
}

// drawn is the token of the largest perturbed logit from one token up to another,
// of those whose logits reach a threshold.
uint drawn(Row r, uint at, uint from, uint to, float threshold, out float best) {
    const float inverse_t = 1.0 / r.temperature;
    float mine = NONE;
    uint mine_id = NO_TOKEN;
    for (uint i = from + gl_LocalInvocationID.x; i < to; i += WG) {
        const float l = logits.v[at + i];
        if (l < threshold) continue;
        const float x = perturbed(r, l, inverse_t, i);
        if (x > mine) {
            mine = x;
            mine_id = i;
        }
    }
    return best_of_lanes(mine, mine_id, best);
}

// scan goes over the logits of a row from one token up to another.
Share scan(Row r, uint at, uint from, uint to) {
    Share s = Share(NONE, 0, NO_TOKEN, NONE, NO_TOKEN, uint[3](0, 0, 0));
    for (uint first = from + gl_LocalInvocationID.x; first < to; first += 4 * WG) {
        float l[4]; // loads that wait for nothing
        [[unroll]] for (uint k = 0; k < 4; k++) l[k] = logits.v[at + min(first + k * WG, to - 1)];
        [[unroll]] for (uint k = 0; k < 4; k++) {
            const bool better = l[k] > s.top, there = first + k * WG < to;
            const float e = exp(-abs(l[k] - s.top));
            if (there) s.total = better ? s.total * e + 1 : s.total + e;
            if (there && better) s.id = first + k * WG;
            if (there && better) s.top = l[k];
        }
    }
    float top;
    s.id = best_of_lanes(s.top, s.id, top);
    s.total = sum_of_lanes(s.total * exp(s.top - top));
    s.top = top;
    if (r.target < 0 && r.temperature > 0 && whole(r)) s.drawn = drawn(r, at, from, to, NONE, s.x);
    return s;
}

// merged is what the row's workgroups found together, the first one's part first.
Share merged(uint at) {
    Share all = shares.v[at];
    for (uint i = 1; i < gl_NumWorkGroups.y; i++) {
        const Share s = shares.v[at + i];
        const float top = max(all.top, s.top);
        all.total = all.total * exp(all.top - top) + s.total * exp(s.top - top);
        if (s.top > all.top) all.id = s.id;
        all.top = top;
        if (s.x > all.x) all.drawn = s.drawn;
        all.x = max(all.x, s.x);
    }
    return all;
}
