#version 460
#extension GL_GOOGLE_include_directive : require
// Shares of the squared norms of the mean's gradients, in an order that does
// not change: PARTS workgroups for each update, each sums one share.
#include "storage.glsl"
#include "optimizer.glsl"

layout(local_size_x_id = 0) in;
const uint WG = gl_WorkGroupSize.x;

layout(push_constant) uniform Push { Updates updates; };

#include "reduce.glsl"

void main() {
    const uint lane = gl_LocalInvocationID.x, part = gl_WorkGroupID.x;
    Update u = updates.v[gl_WorkGroupID.y];
    float sum = 0;
    for (uint i = (part * WG + lane) * 4; i < u.count; i += PARTS * WG * 4) {
        const vec4 g = load_f32(u.gradient, i) / u.divisor;
        sum += dot(g, g);
    }
    sum = sum_of_lanes(sum);
    if (lane == 0) u.partials.v[part] = sum;
}
