// Keys and values of a step on their way from the cache to shared memory: they
// are fetched into registers while those before them are multiplied.
uvec4 key_moves[MOVES], value_moves[MOVES];

// fetch loads STEP keys from the first, those behind the last replaced by it.
void fetch(uint first, uint last, uint table, uint kv_head) {
    [[unroll]] for (uint i = 0; i < MOVES; i++) {
        uint at = gl_LocalInvocationIndex + i * WG, key = min(first + at / (HEAD / 8), last);
        uint cell = (uint(tables.v[table + key / BLOCK]) * kv_heads + kv_head) * BLOCK + key % BLOCK;
        key_moves[i] = Eights(uvec2(keys)).v[cell * (HEAD / 8) + at % (HEAD / 8)];
        value_moves[i] = Eights(uvec2(values)).v[cell * (HEAD / 8) + at % (HEAD / 8)];
    }
}

// stage stores them: keys at pair, values behind them.
void stage(uint pair) {
    [[unroll]] for (uint i = 0; i < MOVES; i++) {
        uint at = gl_LocalInvocationIndex + i * WG, to = pair + at / (HEAD / 8) * STRIDE + at % (HEAD / 8);
        if (TILE % WG != 0 && at >= TILE) break;
        staged[to] = key_moves[i];
        staged[to + STEP * STRIDE] = value_moves[i];
    }
}
