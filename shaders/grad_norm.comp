#version 460
#extension GL_GOOGLE_include_directive : require
// Sums of squares of the gradients of several updates, each divided by its
// divisor. PARTS workgroups share a gradient; the optimizer adds up what they
// leave, in the same order in each of its workgroups.
#include "storage.glsl"
#include "update.glsl"

layout(local_size_x_id = 0) in;
const uint WG = gl_WorkGroupSize.x;

layout(push_constant) uniform Push {
    Updates updates; // [gl_NumWorkGroups.y]
};

#include "reduce.glsl"

void main() {
    Update u = updates.v[gl_WorkGroupID.y];
    const uvec2 share = share_of(u.count);
    const uint lane = gl_LocalInvocationID.x;
    float s = 0;
    for (uint i = share.x + lane * 4; i < share.y; i += WG * 4) {
        vec4 g = load_f32(u.gradient, i) / u.divisor;
        s += dot(g, g);
    }
    s = sum_of_lanes(s);
    if (lane == 0) u.partials.v[gl_WorkGroupID.x] = s;
}
