#version 460
#extension GL_GOOGLE_include_directive : require
// Causal attention of one query per sequence over the paged cache, for the
// GROUP query heads that share a key head, so that keys and values are read
// once for all of them. Long contexts are split over workgroups; the last
// one to finish merges the parts (Flash-Decoding), so a split adds no dispatch.
//
// A workgroup walks its keys in chunks of WG * PER: first each lane scores PER
// keys, then each lane sums some of the head's vec4s over the chunk's values.
#include "storage.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint HEAD = 32;
layout(constant_id = 2) const uint GROUP = 3;
layout(constant_id = 3) const uint PER = 1;
const uint WG = gl_WorkGroupSize.x, CHUNK = WG * PER, BLOCK = 16, QUADS = HEAD / 4;
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

#include "reduce.glsl"

shared float weight[GROUP * CHUNK]; // softmax weights of a chunk
shared float peaks[GROUP * WG];     // each lane's largest score
shared vec4 team_sum[TEAMS > 1 ? WG : 1];
shared bool merges;

float top[GROUP], total[GROUP]; // total is this lane's share
vec4 acc[GROUP * HELD];

uint cell_of(uint table, uint kv_head, uint key) {
    return ((uint(tables.v[table + key / BLOCK]) * kv_heads + kv_head) * BLOCK + key % BLOCK) * HEAD;
}

// peak is the largest score of a chunk for every head of the group.
void find_peaks() {
    const uint lane = gl_LocalInvocationID.x;
    barrier();
    for (uint h = WG / 2; h > 0 && WG > SMALL; h /= 2) {
        if (lane < h)
            for (uint g = 0; g < GROUP; g++) peaks[g * WG + lane] = max(peaks[g * WG + lane], peaks[g * WG + lane + h]);
        barrier();
    }
}

float peak(uint g) {
    float m = peaks[g * WG];
    for (uint i = 1; i < (WG > SMALL ? 1 : WG); i++) m = max(m, peaks[g * WG + i]);
    return m;
}

// score fills weight[] with the chunk's softmax weights and rescales what was
// summed so far.
void score(uint row, uint kv_head, uint table, uint key, uint end) {
    const uint lane = gl_LocalInvocationID.x;
    const uint at = (row * kv_heads + kv_head) * GROUP * HEAD;
    float s[GROUP * PER];
    for (uint j = 0; j < PER; j++) {
        const uint cell = cell_of(table, kv_head, min(key + j * WG + lane, end - 1));
        for (uint g = 0; g < GROUP; g++) s[g * PER + j] = 0;
        for (uint i = 0; i < HEAD; i += 4) {
            vec4 kk = load_act(keys, cell + i);
            for (uint g = 0; g < GROUP; g++) s[g * PER + j] += dot(load_f32(q, at + g * HEAD + i), kk);
        }
        for (uint g = 0; g < GROUP; g++) s[g * PER + j] = key + j * WG + lane < end ? s[g * PER + j] * scale : MASKED;
    }
    for (uint g = 0; g < GROUP; g++) {
        float m = s[g * PER];
        for (uint j = 1; j < PER; j++) m = max(m, s[g * PER + j]);
        peaks[g * WG + lane] = m;
    }
    find_peaks();
    for (uint g = 0; g < GROUP; g++) {
        float above = max(top[g], peak(g)), shrunk = exp(top[g] - above);
        top[g] = above;
        total[g] *= shrunk;
        for (uint j = 0; j < PER; j++) {
            float p = key + j * WG + lane < end ? exp(s[g * PER + j] - above) : 0;
            weight[g * CHUNK + j * WG + lane] = p;
            total[g] += p;
        }
        for (uint i = 0; i < HELD; i++) acc[g * HELD + i] *= shrunk;
    }
    barrier();
}

void gather(uint kv_head, uint table, uint key, uint end) {
    const uint lane = gl_LocalInvocationID.x, team = TEAMS > 1 ? lane / QUADS : 0;
    if (team < TEAMS)
        for (uint j = team; j < CHUNK && key + j < end; j += TEAMS) {
            uint cell = cell_of(table, kv_head, key + j);
            for (uint i = 0; i < HELD; i++) {
                uint quad = (TEAMS > 1 ? lane % QUADS : lane) + i * WG;
                if (quad >= QUADS) break;
                vec4 vv = load_act(values, cell + quad * 4);
                for (uint g = 0; g < GROUP; g++) acc[g * HELD + i] += weight[g * CHUNK + j] * vv;
            }
        }
    barrier();
}

// join sums the lanes' totals, and the teams' shares; the first team then
// holds the whole.
void join() {
    for (uint g = 0; g < GROUP; g++) total[g] = sum_of_lanes(total[g]);
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
    for (uint key = from; key < end; key += CHUNK) {
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
