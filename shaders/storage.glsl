// How numbers are stored, and the loads and stores of four at a time that
// every kernel is written over. Storage types are F32, F16 and BF16; a kernel
// names the ones it is compiled for with -DWEIGHT_F32 and so on (base weights) and
// -DACT_F32 and so on (inputs of matrix products, the KV cache and adapters). Indices count
// elements and are multiples of 4. 16-bit numbers are packed by hand, so that no
// 16-bit feature is needed; arithmetic is always float32.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require

layout(buffer_reference, std430, buffer_reference_align = 16) buffer F32 { vec4 v[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) buffer F16 { uvec2 v[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) buffer BF16 { uvec2 v[]; };
// Scalars.
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Floats { float v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Ints { int v[]; };

vec4 load_f32(F32 b, uint i) { return b.v[i >> 2]; }

vec4 load_f16(F16 b, uint i) {
    uvec2 p = b.v[i >> 2];
    return vec4(unpackHalf2x16(p.x), unpackHalf2x16(p.y));
}

vec4 load_bf16(BF16 b, uint i) {
    uvec2 p = b.v[i >> 2];
    return uintBitsToFloat(uvec4(p.x << 16, p.x & 0xffff0000u, p.y << 16, p.y & 0xffff0000u));
}

void store_f32(F32 b, uint i, vec4 x) { b.v[i >> 2] = x; }

// Values beyond float16's range are kept at its ends: an activation that
// would become infinite poisons every later layer. A NaN stays a NaN, which clamp
// does not promise: it must reach the logits, where it is noticed.
vec4 clamp_f16(vec4 x) { return mix(clamp(x, -65504.0, 65504.0), x, isnan(x)); }

uvec2 pack_f16(vec4 x) {
    x = clamp_f16(x);
    return uvec2(packHalf2x16(x.xy), packHalf2x16(x.zw));
}

void store_f16(F16 b, uint i, vec4 x) { b.v[i >> 2] = pack_f16(x); }

// To nearest, ties to even; a NaN stays a NaN.
uvec4 bf16_bits(vec4 x) {
    uvec4 u = floatBitsToUint(x);
    uvec4 r = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    return mix(r, (u >> 16) | 64u, isnan(x));
}

uvec2 pack_bf16(vec4 x) {
    uvec4 u = bf16_bits(x);
    return uvec2(u.x | u.y << 16, u.z | u.w << 16);
}

void store_bf16(BF16 b, uint i, vec4 x) { b.v[i >> 2] = pack_bf16(x); }

// One number, where rows need not start at a multiple of 4.
float load1_f32(F32 b, uint i) { return b.v[i >> 2][i & 3]; }

float load1_f16(F16 b, uint i) { return unpackHalf2x16(b.v[i >> 2][(i >> 1) & 1])[i & 1]; }

float load1_bf16(BF16 b, uint i) {
    uint p = b.v[i >> 2][(i >> 1) & 1];
    return uintBitsToFloat((i & 1) == 0 ? p << 16 : p & 0xffff0000u);
}

// Pairs, for results that leave a register tile two at a time; i is even.
void store2_f32(F32 b, uint i, vec2 x) {
    b.v[i >> 2][i & 3] = x.x;
    b.v[i >> 2][(i & 3) + 1] = x.y;
}

void store2_f16(F16 b, uint i, vec2 x) { b.v[i >> 2][(i >> 1) & 1] = packHalf2x16(clamp_f16(vec4(x, x)).xy); }

void store2_bf16(BF16 b, uint i, vec2 x) {
    uvec4 u = bf16_bits(vec4(x, x));
    b.v[i >> 2][(i >> 1) & 1] = u.x | u.y << 16;
}

#if defined(WEIGHT_F32)
#define WEIGHT F32
#define load_weight load_f32
#elif defined(WEIGHT_F16)
#define WEIGHT F16
#define load_weight load_f16
#elif defined(WEIGHT_BF16)
#define WEIGHT BF16
#define load_weight load_bf16
#endif

#if defined(ACT_F32)
#define ACT F32
#define load_act load_f32
#define load1_act load1_f32
#define store_act store_f32
#define store2_act store2_f32
#elif defined(ACT_F16)
#define ACT F16
#define load_act load_f16
#define load1_act load1_f16
#define store_act store_f16
#define store2_act store2_f16
#define pack_act pack_f16
const uint EXPONENT = 0x7c00; // all ones: not a finite number
#elif defined(ACT_BF16)
#define ACT BF16
#define load_act load_bf16
#define load1_act load1_bf16
#define store_act store_bf16
#define store2_act store2_bf16
#define pack_act pack_bf16
const uint EXPONENT = 0x7f80;
#endif

// A macro: overloads on reference types are not told apart by every compiler.
#define IS_NULL(p) (uvec2(p) == uvec2(0))

// listed is entry i of a list of rows, or i itself where the list is null. Newer
// llvmpipes load what is the same for all lanes also in branches that no lane takes, so the
// load is of address `there` then, where something lies.
uint listed(Ints list, uint i, uvec2 there) {
    const bool own = IS_NULL(list);
    const uint entry = uint(Ints(own ? there : uvec2(list)).v[own ? 0 : i]);
    return own ? i : entry;
}
