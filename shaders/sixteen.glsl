// Loads of sixteen bytes: 4 numbers of float32 or 8 of the narrow types, kept
// as they are stored until they are used. WEIGHT_PER and ACT_PER are how many;
// weight_of and act_of are the ith four of them.
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Sixteen { uvec4 v[]; };

vec4 f32_of(uvec4 raw, uint i) { return uintBitsToFloat(raw); }

vec4 f16_of(uvec4 raw, uint i) {
    const uvec2 p = i == 0 ? raw.xy : raw.zw;
    return vec4(unpackHalf2x16(p.x), unpackHalf2x16(p.y));
}

vec4 bf16_of(uvec4 raw, uint i) {
    const uvec2 p = i == 0 ? raw.xy : raw.zw;
    return uintBitsToFloat(uvec4(p.x << 16, p.x & 0xffff0000u, p.y << 16, p.y & 0xffff0000u));
}

#if defined(WEIGHT_F32)
const uint WEIGHT_PER = 4;
#define weight_of f32_of
#elif defined(WEIGHT_F16)
const uint WEIGHT_PER = 8;
#define weight_of f16_of
#elif defined(WEIGHT_BF16)
const uint WEIGHT_PER = 8;
#define weight_of bf16_of
#endif

#if defined(ACT_F32)
const uint ACT_PER = 4;
#define act_of f32_of
#elif defined(ACT_F16)
const uint ACT_PER = 8;
#define act_of f16_of
#elif defined(ACT_BF16)
const uint ACT_PER = 8;
#define act_of bf16_of
#endif
