// What attention's kernels over a subgroup's cooperative matrices share: squares
// of T by T, called fragments, and 16-bit rows of a head staged in shared memory.
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_control_flow_attributes : require
#pragma use_vulkan_memory_model
#extension GL_KHR_shader_subgroup_shuffle : require
#ifdef REGISTERS // scores stay in registers
#extension GL_NV_cooperative_matrix2 : require
#endif

// Eight 16-bit numbers at a time, as they are stored.
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Eights { uvec4 v[]; };

#define LEFT coopmat<float16_t, gl_ScopeSubgroup, T, T, gl_MatrixUseA>
#define RIGHT coopmat<float16_t, gl_ScopeSubgroup, T, T, gl_MatrixUseB>
#define SUM coopmat<float, gl_ScopeSubgroup, T, T, gl_MatrixUseAccumulator>
const int ROWS_FIRST = gl_CooperativeMatrixLayoutRowMajor, COLUMNS_FIRST = gl_CooperativeMatrixLayoutColumnMajor;

// A row of a head in shared memory, in uvec4; the one behind it spreads rows over banks.
const uint STRIDE = HEAD / 8 + 1;
// uvec4 of a step's rows of one matrix, and how many an invocation moves to shared memory.
const uint TILE = STEP * HEAD / 8, MOVES = (TILE + WG - 1) / WG;

#if defined(ACT_F16)
uvec2 pack(vec4 x) {
    x = clamp_f16(x);
    return uvec2(packHalf2x16(x.xy), packHalf2x16(x.zw));
}
#else
uvec2 pack(vec4 x) {
    uvec4 u = bf16_bits(x);
    return uvec2(u.x | u.y << 16, u.z | u.w << 16);
}
#endif

// packed are eight numbers as the activation type stores them.
uvec4 packed(vec4 a, vec4 b) { return uvec4(pack(a), pack(b)); }

#ifdef REGISTERS
// operand makes sums a left operand. Conversions to bfloat16 may cut off, so
// numbers are rounded before; a NaN stays one if it is asked for.
LEFT operand(SUM s, bool keep_nan) {
#if defined(ACT_BF16)
    [[unroll]] for (uint e = 0; e < s.length(); e++)
        if (!keep_nan || !isnan(s[e])) s[e] = uintBitsToFloat(floatBitsToUint(s[e]) + 0x8000u & 0xffff0000u);
#endif
    return LEFT(s);
}
#endif
