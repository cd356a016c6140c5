#version 460
#extension GL_GOOGLE_include_directive : require
// Causal attention of one query per sequence over the paged cache, for the
// GROUP query heads that share a key head, so that keys and values are read
// once for all of them. Long contexts are split over workgroups; the last
// one to finish merges the parts (Flash-Decoding), so a split adds no dispatch.
//
// A workgroup walks its keys in chunks of WG: first each lane scores one key,
// then each lane sums some of the head's vec4s over the chunk's values.
#include "storage.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint HEAD = 32;
layout(constant_id = 2) const uint GROUP = 3;
const uint WG = gl_WorkGroupSize.x, BLOCK = 16, QUADS = HEAD / 4;
const uint HELD = (QUADS + WG - 1) / WG;            // vec4s of the head a lane sums
const uint TEAMS = WG > QUADS ? WG / QUADS : 1;     // groups of lanes that take turns at keys
const uint PART = HEAD + 4;                         // a split's result: sums, top, total
const float MASKED = -1e30;

layout(buffer_reference, std430, buffer_reference_align = 4) coherent buffer Shared { float v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) coherent buffer Counters { uint v[]; };

layout(push_constant) uniform Push {
    F32 q;            // [rows, heads * HEAD], rotated
    ACT keys;         // [blocks, kv_heads, 16, HEAD]
    ACT values;
    ACT y;            // [rows, heads * HEAD]
    Ints tiles;       // [.] of (row, position, start in tables)
    Ints tables;
    Shared parts;     // [sequences, heads, splits, PART]
    Counters counters; // [sequences, kv_heads], zero between dispatches
    uint kv_heads, splits;
    float scale;
    uint window;
};

shared float weight[GROUP * WG];  // scores, then softmax weights of a chunk
shared float scratch[WG];
shared vec4 team_sum[TEAMS > 1 ? WG : 1];
shared bool merges;

float top[GROUP], total[GROUP];
vec4 acc[GROUP * HELD];

float max_of_lanes(float x) {
    const uint lane = gl_LocalInvocationID.x;
    barrier();
    scratch[lane] = x;
    for (uint h = WG / 2; h > 0; h /= 2) {
        barrier();
        if (lane < h) scratch[lane] = max(scratch[lane], scratch[lane + h]);
    }
    barrier();
    return scratch[0];
}

float sum_of_lanes(float x) {
    const uint lane = gl_LocalInvocationID.x;
    barrier();
    scratch[lane] = x;
    for (uint h = WG / 2; h > 0; h /= 2) {
        barrier();
        if (lane < h) scratch[lane] += scratch[lane + h];
    }
    barrier();
    return scratch[0];
}

uint cell_of(uint table, uint kv_head, uint key) {
    return ((uint(tables.v[table + key / BLOCK]) * kv_heads + kv_head) * BLOCK + key % BLOCK) * HEAD;
}

// score fills weight[] with the chunk's softmax weights and rescales what was
// summed so far.
void score(uint row, uint kv_head, uint table, uint key, uint end) {
    const uint lane = gl_LocalInvocationID.x;
    const bool seen = key + lane < end;
    const uint cell = cell_of(table, kv_head, min(key + lane, end - 1));
    const uint at = (row * kv_heads + kv_head) * GROUP * HEAD;
    float s[GROUP];
    for (uint g = 0; g < GROUP; g++) s[g] = 0;
    for (uint i = 0; i < HEAD; i += 4) {
        vec4 kk = load_act(keys, cell + i);
        for (uint g = 0; g < GROUP; g++) s[g] += dot(load_f32(q, at + g * HEAD + i), kk);
    }
    for (uint g = 0; g < GROUP; g++) {
        float x = seen ? s[g] * scale : MASKED;
        float above = max(top[g], max_of_lanes(x));
        float p = seen ? exp(x - above) : 0, shrunk = exp(top[g] - above);
        weight[g * WG + lane] = p;
        total[g] = total[g] * shrunk + sum_of_lanes(p);
        top[g] = above;
        for (uint i = 0; i < HELD; i++) acc[g * HELD + i] *= shrunk;
    }
}

void gather(uint kv_head, uint table, uint key, uint end) {
    const uint lane = gl_LocalInvocationID.x, team = TEAMS > 1 ? lane / QUADS : 0;
    barrier();
    if (team < TEAMS)
        for (uint j = team; j < WG && key + j < end; j += TEAMS) {
            uint cell = cell_of(table, kv_head, key + j);
            for (uint i = 0; i < HELD; i++) {
                uint quad = (TEAMS > 1 ? lane % QUADS : lane) + i * WG;
                if (quad >= QUADS) break;
                vec4 vv = load_act(values, cell + quad * 4);
                for (uint g = 0; g < GROUP; g++) acc[g * HELD + i] += weight[g * WG + j] * vv;
            }
        }
    barrier();
}

// join sums the teams' shares; the first team then holds the whole.
void join() {
    if (TEAMS == 1) return;
    const uint lane = gl_LocalInvocationID.x;
    for (uint g = 0; g < GROUP; g++) {
        team_sum[lane] = acc[g];
        barrier();
        if (lane < QUADS)
            for (uint t = 1; t < TEAMS; t++) acc[g] += team_sum[t * QUADS + lane];
        barrier();
    }
}

void write_part(uint at) {
    for (uint g = 0; g < GROUP; g++) {
        uint to = at + g * splits * PART;
        for (uint i = 0; i < HELD; i++) {
            uint quad = gl_LocalInvocationID.x + i * WG;
            if (quad < QUADS)
                for (uint c = 0; c < 4; c++) parts.v[to + quad * 4 + c] = acc[g * HELD + i][c];
        }
        if (gl_LocalInvocationID.x == 0) {
            parts.v[to + HEAD] = top[g];
            parts.v[to + HEAD + 1] = total[g];
        }
    }
}

void merge_parts(uint at) {
    for (uint g = 0; g < GROUP; g++) {
        uint from = at + g * splits * PART;
        top[g] = MASKED;
        for (uint s = 0; s < splits; s++) top[g] = max(top[g], parts.v[from + s * PART + HEAD]);
        total[g] = 0;
        for (uint i = 0; i < HELD; i++) acc[g * HELD + i] = vec4(0);
        for (uint s = 0; s < splits; s++) {
            float share = exp(parts.v[from + s * PART + HEAD] - top[g]);
            total[g] += share * parts.v[from + s * PART + HEAD + 1];
            for (uint i = 0; i < HELD; i++) {
                uint quad = gl_LocalInvocationID.x + i * WG;
                if (quad < QUADS)
                    for (uint c = 0; c < 4; c++) acc[g * HELD + i][c] += share * parts.v[from + s * PART + quad * 4 + c];
            }
        }
    }
}

// last_to_finish tells whether this workgroup is the last of its splits.
bool last_to_finish(uint counter) {
    memoryBarrierBuffer();
    barrier();
    if (gl_LocalInvocationID.x == 0) {
        merges = atomicAdd(counters.v[counter], 1u) == splits - 1;
        if (merges) counters.v[counter] = 0; // ready for the next dispatch
    }
    barrier();
    memoryBarrierBuffer();
    return merges;
}

void main() {
    const uint sequence = gl_WorkGroupID.x, kv_head = gl_WorkGroupID.y, split = gl_WorkGroupID.z;
    const uint row = uint(tiles.v[3 * sequence]), position = uint(tiles.v[3 * sequence + 1]);
    const uint table = uint(tiles.v[3 * sequence + 2]);
    const uint first = window == 0 || position + 1 < window ? 0 : position + 1 - window;
    const uint share = (position + 1 - first + splits - 1) / splits;
    const uint from = first + split * share, end = min(from + share, position + 1);

    for (uint g = 0; g < GROUP; g++) {
        top[g] = MASKED;
        total[g] = 0;
    }
    for (uint i = 0; i < GROUP * HELD; i++) acc[i] = vec4(0);
    for (uint key = from; key < end; key += WG) {
        score(row, kv_head, table, key, end);
        gather(kv_head, table, key, end);
    }
    join();
    if (splits > 1) {
        uint at = (sequence * kv_heads + kv_head) * GROUP * splits * PART;
        write_part(at + split * PART);
        if (!last_to_finish(sequence * kv_heads + kv_head)) return;
        merge_parts(at);
    }
    for (uint g = 0; g < GROUP; g++)
        for (uint i = 0; i < HELD; i++) {
            uint quad = gl_LocalInvocationID.x + i * WG;
            if (quad < QUADS)
                store_act(y, ((row * kv_heads + kv_head) * GROUP + g) * HEAD + quad * 4, acc[g * HELD + i] / total[g]);
        }
}
