// A tile of a matrix product on a workgroup's cooperative matrices, with 16-bit
// inputs and float32 sums: NVIDIA's second extension, where the driver moves tiles from
// memory through shared memory by itself. It takes whole tiles: nothing is checked.
#extension GL_KHR_cooperative_matrix : require
#extension GL_NV_cooperative_matrix2 : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_shader_16bit_storage : require
#pragma use_vulkan_memory_model

layout(local_size_x = 128) in;
const uint BM = 128, BN = 128, BK = 64; // the shape that measured fastest; others are several times slower
const uint RK = 32;   // ranks at a time
const uint UNROLL = 2; // pieces of BK in a turn of the loop

layout(buffer_reference, std430, buffer_reference_align = 16) buffer Halves { float16_t v[]; };

#define A(rows, depth) coopmat<float16_t, gl_ScopeWorkgroup, rows, depth, gl_MatrixUseA>
#define B(depth, columns) coopmat<float16_t, gl_ScopeWorkgroup, depth, columns, gl_MatrixUseB>
#define SUMS(columns) coopmat<float, gl_ScopeWorkgroup, BM, columns, gl_MatrixUseAccumulator>

// even tells the compiler that rows begin at multiples of 64 bytes, which is
// what lets it load wide: several times faster.
uint even(uint n) { return n & ~31u; }

// matrix_of is the layout of a row-major matrix whose rows are so far apart.
tensorLayoutNV<2> matrix_of(uint rows, uint columns, uint stride) {
    tensorLayoutNV<2> l = createTensorLayoutNV(2);
    l = setTensorLayoutDimensionNV(l, rows, columns);
    return setTensorLayoutStrideNV(l, stride, 1);
}

// padded_matrix_of is the same with zeros around it.
tensorLayoutNV<2, gl_CooperativeMatrixClampModeConstantNV> padded_matrix_of(uint rows, uint columns, uint stride) {
    tensorLayoutNV<2, gl_CooperativeMatrixClampModeConstantNV> l = createTensorLayoutNV(2, gl_CooperativeMatrixClampModeConstantNV);
    l = setTensorLayoutDimensionNV(l, rows, columns);
    return setTensorLayoutStrideNV(l, stride, 1);
}

// fit rounds a number to what the 16-bit type can hold, as stores elsewhere do:
// a matrix's own conversion may round towards zero.
float fit(const in uint row, const in uint column, const in float x) {
#ifdef ACT_F16
    return isnan(x) ? x : clamp(x, -65504.0, 65504.0);
#else
    return uintBitsToFloat(bf16_bits(vec4(x)).x << 16);
#endif
}

// Workgroups walk the tiles in bands, as in matrix.glsl.
const uint BAND = 8;
uvec2 tile_of(uint number, uint across, uint along) {
    const uint band = number / (BAND * along), high = min(BAND, across - band * BAND);
    const uint at = number - band * BAND * along;
    return uvec2(band * BAND + at % high, at / high);
}
