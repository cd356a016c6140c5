#version 460
#extension GL_GOOGLE_include_directive : require
// Copies memory, as the first kernel of STREAM (McCalpin 1995) does: what a
// device's memory allows, which the copy commands of some drivers are far from.
#include "storage.glsl"

layout(local_size_x_id = 0) in;

layout(push_constant) uniform Push {
    F32 from; // [count]
    F32 to;
    uint count; // a multiple of 4
};

void main() {
    const uint i = ((gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * gl_WorkGroupSize.x + gl_LocalInvocationID.x) * 4;
    if (i < count) store_f32(to, i, load_f32(from, i));
}
