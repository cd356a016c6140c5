#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
// Decode attention as in attention_decode.comp, for GPUs: a subgroup's lanes lie
// over a head by 16 bytes, and over as many keys as fit beside each other, so that
// keys and values are read in whole lines and nothing goes through shared memory
// before the end. Scores are summed by shuffles; each group of lanes keeps a softmax of its own
// (Milakov and Gimelshein 2018), and these are merged: within the subgroup, within the
// workgroup, and by the last workgroup of a split sequence.
//
// With ROTATE it does rope.comp's work as well: q comes as the product left it, and
// the new key and value go straight into the softmax, and into the cache for later steps.
#include "storage.glsl"
#include "sixteen.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint HEAD = 64;
layout(constant_id = 2) const uint GROUP = 4;
layout(constant_id = 3) const uint SUBGROUP = 32;
layout(constant_id = 4) const uint DEEP = 4; // keys of each lane under way at a time
layout(constant_id = 5) const uint ROTATE = 0;

layout(buffer_reference, std430, buffer_reference_align = 16) coherent buffer Shared { vec4 v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) coherent buffer Counters { uint v[]; };

layout(push_constant) uniform Push {
    F32 q;             // [rows, heads * HEAD], rotated; with ROTATE [rows, (heads + 2 kv_heads) * HEAD]: q, k, v
    ACT keys;          // [blocks, kv_heads, 16, HEAD]
    ACT values;
    ACT y;             // [rows, heads * HEAD]
    Ints tiles;        // [.] of (row, position, start in tables)
    Ints tables;
    Shared parts;      // [sequences, kv_heads, splits, GROUP, HEAD / 4 + 1]
    Counters counters; // [sequences, kv_heads], zero between dispatches
    uint kv_heads, splits;
    float scale;
    uint window;
    F32 turns;         // with ROTATE [positions, HEAD]: cos, sin
    F32 q_norm;        // [HEAD] or null
    F32 k_norm;
    float eps;
};

const uint WG = gl_WorkGroupSize.x, SUBGROUPS = WG / SUBGROUP, BLOCK = 16, PER = ACT_PER;
const uint PIECES = PER / 4;         // vec4s of a lane's share of a head
const uint LANES = HEAD / PER;       // that share a key
const uint BESIDE = SUBGROUP / LANES; // keys side by side in a subgroup
const uint QUADS = HEAD / 4, PART = QUADS + 1;
const float MASKED = -1e30;

shared vec4 sums[SUBGROUPS * GROUP * QUADS];
shared vec2 ends[SUBGROUPS * GROUP]; // largest score and total
shared bool merges;

vec4 q_of[GROUP * PIECES], acc[GROUP * PIECES];
float top[GROUP], total[GROUP];
uint row, position, table, kv_head;
uint share; // the lane's: which LANES-th of a head

uint cell_of(uint key) {
    return ((uint(tables.v[table + key / BLOCK]) * kv_heads + kv_head) * BLOCK + key % BLOCK) * HEAD + share * PER;
}

float over_lanes(float s) {
    [[unroll]] for (uint h = LANES / 2; h > 0; h /= 2) s += subgroupShuffleXor(s, h);
    return s;
}

// rotate norms and rotates the lane's share of a head of the row.
void rotate(inout vec4 x[PIECES], F32 norm) {
    if (!IS_NULL(norm)) {
        float s = 0;
        [[unroll]] for (uint i = 0; i < PIECES; i++) s += dot(x[i], x[i]);
        const float r = inversesqrt(over_lanes(s) / float(HEAD) + eps);
        [[unroll]] for (uint i = 0; i < PIECES; i++) x[i] *= r * load_f32(norm, share * PER + i * 4);
    }
    const bool low = share < LANES / 2; // the other half is in the lane LANES / 2 away
    [[unroll]] for (uint i = 0; i < PIECES; i++) {
        const uint at = position * HEAD + share % (LANES / 2) * PER + i * 4;
        const vec4 c = load_f32(turns, at), s = load_f32(turns, at + HEAD / 2), other = subgroupShuffleXor(x[i], LANES / 2);
        x[i] = x[i] * c + (low ? -other : other) * s;
    }
}

void load_queries() {
    const uint heads = kv_heads * GROUP, width = (ROTATE == 1 ? heads + 2 * kv_heads : heads) * HEAD;
    [[unroll]] for (uint g = 0; g < GROUP; g++) {
        vec4 x[PIECES];
        [[unroll]] for (uint i = 0; i < PIECES; i++) x[i] = load_f32(q, row * width + (kv_head * GROUP + g) * HEAD + share * PER + i * 4);
        if (ROTATE == 1) rotate(x, q_norm);
        [[unroll]] for (uint i = 0; i < PIECES; i++) q_of[g * PIECES + i] = x[i] * scale;
    }
}

// score is the product of a head's query and a key.
float score(uint g, vec4 key[PIECES]) {
    float s = 0;
    [[unroll]] for (uint i = 0; i < PIECES; i++) s += dot(q_of[g * PIECES + i], key[i]);
    return over_lanes(s);
}

// append puts the row's own key and value into the softmax, as exact as they
// are, and into the cache in its type.
void append(bool first) {
    const uint heads = kv_heads * GROUP, at = (row * (heads + 2 * kv_heads) + heads + kv_head) * HEAD + share * PER;
    vec4 k[PIECES], v[PIECES];
    [[unroll]] for (uint i = 0; i < PIECES; i++) {
        k[i] = load_f32(q, at + i * 4);
        v[i] = load_f32(q, at + kv_heads * HEAD + i * 4);
    }
    rotate(k, k_norm);
    const uint cell = cell_of(position);
    [[unroll]] for (uint i = 0; i < PIECES && first; i++) {
        store_act(keys, cell + i * 4, k[i]);
        store_act(values, cell + i * 4, v[i]);
    }
    [[unroll]] for (uint g = 0; g < GROUP; g++) {
        const float s = score(g, k);
        if (!first) continue;
        top[g] = s;
        total[g] = 1;
        [[unroll]] for (uint i = 0; i < PIECES; i++) acc[g * PIECES + i] = v[i];
    }
}

// attend takes DEEP keys of each lane, from the lane's first on.
void attend(uint key, uint end) {
    uvec4 k[DEEP], v[DEEP];
    [[unroll]] for (uint d = 0; d < DEEP; d++) {
        const uint cell = cell_of(min(key + d * BESIDE, end - 1)) / PER;
        k[d] = Sixteen(keys).v[cell];
        v[d] = Sixteen(values).v[cell];
    }
    float s[GROUP * DEEP];
    [[unroll]] for (uint d = 0; d < DEEP; d++) {
        vec4 kk[PIECES];
        [[unroll]] for (uint i = 0; i < PIECES; i++) kk[i] = act_of(k[d], i);
        [[unroll]] for (uint g = 0; g < GROUP; g++) s[g * DEEP + d] = score(g, kk);
    }
    [[unroll]] for (uint g = 0; g < GROUP; g++) {
        float above = top[g];
        [[unroll]] for (uint d = 0; d < DEEP; d++)
            if (key + d * BESIDE < end) above = max(above, s[g * DEEP + d]);
        const float shrunk = exp(top[g] - above);
        top[g] = above;
        total[g] *= shrunk;
        [[unroll]] for (uint i = 0; i < PIECES; i++) acc[g * PIECES + i] *= shrunk;
        [[unroll]] for (uint d = 0; d < DEEP; d++) {
            const float p = key + d * BESIDE < end ? exp(s[g * DEEP + d] - above) : 0.0;
            total[g] += p;
            [[unroll]] for (uint i = 0; i < PIECES; i++) acc[g * PIECES + i] += p * act_of(v[d], i);
        }
    }
}

// join merges the softmaxes of the keys side by side in the subgroup, and
// leaves the subgroup's in shared memory.
void join() {
    [[unroll]] for (uint g = 0; g < GROUP; g++) {
        float above = top[g];
        [[unroll]] for (uint h = LANES; h < SUBGROUP; h *= 2) above = max(above, subgroupShuffleXor(above, h));
        const float shrunk = exp(top[g] - above);
        float all = total[g] * shrunk;
        [[unroll]] for (uint h = LANES; h < SUBGROUP; h *= 2) all += subgroupShuffleXor(all, h);
        [[unroll]] for (uint i = 0; i < PIECES; i++) {
            vec4 s = acc[g * PIECES + i] * shrunk;
            [[unroll]] for (uint h = LANES; h < SUBGROUP; h *= 2) s += subgroupShuffleXor(s, h);
            if (gl_SubgroupInvocationID < LANES) sums[(gl_SubgroupID * GROUP + g) * QUADS + share * PIECES + i] = s;
        }
        if (gl_SubgroupInvocationID == 0) ends[gl_SubgroupID * GROUP + g] = vec2(above, all);
    }
    barrier();
}

// joined is four sums of a head over the workgroup, with their largest score
// and total.
vec4 joined(uint g, uint quad, out vec2 end) {
    end = vec2(MASKED, 0);
    for (uint s = 0; s < SUBGROUPS; s++) end.x = max(end.x, ends[s * GROUP + g].x);
    vec4 sum = vec4(0);
    for (uint s = 0; s < SUBGROUPS; s++) {
        const float shrunk = exp(ends[s * GROUP + g].x - end.x);
        end.y += shrunk * ends[s * GROUP + g].y;
        sum += shrunk * sums[(s * GROUP + g) * QUADS + quad];
    }
    return sum;
}

// merged is the same over all splits' parts.
vec4 merged(uint at, uint g, uint quad, out vec2 end) {
    end = vec2(MASKED, 0);
    for (uint s = 0; s < splits; s++) end.x = max(end.x, parts.v[at + (s * GROUP + g) * PART + QUADS].x);
    vec4 sum = vec4(0);
    for (uint s = 0; s < splits; s++) {
        const uint part = at + (s * GROUP + g) * PART;
        const vec2 e = parts.v[part + QUADS].xy;
        const float shrunk = exp(e.x - end.x);
        end.y += shrunk * e.y;
        sum += shrunk * parts.v[part + quad];
    }
    return sum;
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
    const uint sequence = gl_WorkGroupID.x, split = gl_WorkGroupID.z, lane = gl_LocalInvocationID.x;
    kv_head = gl_WorkGroupID.y;
    row = uint(tiles.v[3 * sequence]);
    position = uint(tiles.v[3 * sequence + 1]);
    table = uint(tiles.v[3 * sequence + 2]);
    share = gl_SubgroupInvocationID % LANES;
    const uint beside = gl_SubgroupInvocationID / LANES;
    const uint first = window == 0 || position + 1 < window ? 0 : position + 1 - window;
    const uint each = (position + 1 - first + splits - 1) / splits;
    const uint from = first + split * each, end = min(from + each, position + 1);

    load_queries();
    [[unroll]] for (uint g = 0; g < GROUP; g++) {
        top[g] = MASKED;
        total[g] = 0;
    }
    [[unroll]] for (uint i = 0; i < GROUP * PIECES; i++) acc[i] = vec4(0);
    if (ROTATE == 1 && from <= position && end == position + 1) append(gl_SubgroupID == 0 && beside == 0);
    const uint cached = ROTATE == 1 ? min(end, position) : end;
    for (uint key = from + gl_SubgroupID * DEEP * BESIDE; key < cached; key += SUBGROUPS * DEEP * BESIDE)
        attend(key + beside, cached);
    join();
    const uint at = (sequence * kv_heads + kv_head) * splits * GROUP * PART;
    vec2 e;
    if (splits > 1) {
        for (uint i = lane; i < GROUP * QUADS; i += WG) {
            const uint part = at + (split * GROUP + i / QUADS) * PART;
            parts.v[part + i % QUADS] = joined(i / QUADS, i % QUADS, e);
            if (i % QUADS == 0) parts.v[part + QUADS] = vec4(e, 0, 0);
        }
        if (!last_to_finish(sequence * kv_heads + kv_head)) return;
    }
    for (uint i = lane; i < GROUP * QUADS; i += WG) {
        vec4 s;
        if (splits > 1) s = merged(at, i / QUADS, i % QUADS, e);
        else s = joined(i / QUADS, i % QUADS, e);
        store_act(y, ((row * kv_heads + kv_head) * GROUP + i / QUADS) * HEAD + i % QUADS * 4, s / e.y);
    }
}
