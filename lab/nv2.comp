#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_NV_cooperative_matrix2 : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_control_flow_attributes : require
#pragma use_vulkan_memory_model
layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint BM = 128;
layout(constant_id = 2) const uint BN = 256;
layout(constant_id = 3) const uint BK = 32;
layout(constant_id = 4) const uint SWIZZLE = 8;
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Raw { float16_t v[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Out { float v[]; };
layout(push_constant) uniform Push { Raw x; Raw w; Out y; uint m, n, k; };
void main() {
    uint tm = (m + BM - 1) / BM, tn = n / BN;
    uint id = gl_WorkGroupID.x;
    uint band = id / (SWIZZLE * tn), high = min(SWIZZLE, tm - band * SWIZZLE);
    uint in_band = id - band * SWIZZLE * tn;
    uint row = (band * SWIZZLE + in_band % high) * BM, col = (in_band / high) * BN;
    const uint ka = k & ~31u, na = n & ~31u;
    tensorLayoutNV<2> la = createTensorLayoutNV(2);
    tensorLayoutNV<2> lb = createTensorLayoutNV(2);
    tensorLayoutNV<2> lc = createTensorLayoutNV(2);
    la = setTensorLayoutDimensionNV(la, m, ka);
    la = setTensorLayoutStrideNV(la, ka, 1);
    lb = setTensorLayoutDimensionNV(lb, n, ka);
    lb = setTensorLayoutStrideNV(lb, ka, 1);
    lc = setTensorLayoutDimensionNV(lc, m, na);
    lc = setTensorLayoutStrideNV(lc, na, 1);
    tensorViewNV<2, false, 1, 0> tr = createTensorViewNV(2, false, 1, 0);
    coopmat<float, gl_ScopeWorkgroup, BM, BN, gl_MatrixUseAccumulator> acc = coopmat<float, gl_ScopeWorkgroup, BM, BN, gl_MatrixUseAccumulator>(0.0);
#ifdef UNROLL
    [[dont_unroll]] for (uint kk = 0; kk < ka; kk += UNROLL * BK) {
        [[unroll]] for (uint u = 0; u < UNROLL; u++) {
            coopmat<float16_t, gl_ScopeWorkgroup, BM, BK, gl_MatrixUseA> a;
            coopmat<float16_t, gl_ScopeWorkgroup, BK, BN, gl_MatrixUseB> b;
            coopMatLoadTensorNV(a, x.v, 0, sliceTensorLayoutNV(la, row, BM, kk + u * BK, BK));
            coopMatLoadTensorNV(b, w.v, 0, sliceTensorLayoutNV(lb, col, BN, kk + u * BK, BK), tr);
            acc = coopMatMulAdd(a, b, acc);
        }
    }
#else
    for (uint kk = 0; kk < ka; kk += BK) {
        coopmat<float16_t, gl_ScopeWorkgroup, BM, BK, gl_MatrixUseA> a;
        coopmat<float16_t, gl_ScopeWorkgroup, BK, BN, gl_MatrixUseB> b;
        coopMatLoadTensorNV(a, x.v, 0, sliceTensorLayoutNV(la, row, BM, kk, BK));
        coopMatLoadTensorNV(b, w.v, 0, sliceTensorLayoutNV(lb, col, BN, kk, BK), tr);
        acc = coopMatMulAdd(a, b, acc);
    }
#endif
    coopMatStoreTensorNV(acc, y.v, 0, sliceTensorLayoutNV(lc, row, BM, col, BN));
}
