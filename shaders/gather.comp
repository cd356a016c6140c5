#version 460
#extension GL_GOOGLE_include_directive : require
// Y[i] = X[list[i]]: rows of any type, as they are. An invocation copies eight bytes.
#include "storage.glsl"

layout(local_size_x_id = 0) in;

layout(buffer_reference, std430, buffer_reference_align = 8) buffer Bits { uvec2 v[]; };

layout(push_constant) uniform Push {
    Bits x;      // [., n]
    Ints list;   // [rows]
    Bits y;      // [rows, n]
    uint n;      // times eight bytes of a row
};

void main() {
    const uint row = gl_WorkGroupID.y, i = gl_GlobalInvocationID.x;
    if (i < n) y.v[row * n + i] = x.v[uint(list.v[row]) * n + i];
}
