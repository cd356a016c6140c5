#version 460
#extension GL_GOOGLE_include_directive : require
// Fills memory with random numbers, as an untrained model's weights are. Number i
// depends on (seed, i) alone: not on the type, the device or the workgroup size. It is
// nearly normal: the sum of eight uniform bytes, which is within 8.9 deviations
// of the mean.
#include "storage.glsl"

layout(local_size_x_id = 0) in;

layout(push_constant) uniform Push {
    ACT x;       // [count]
    uint count;  // a multiple of 4
    uint seed;
    float mean;
    float step;  // of one unit of the sum: the deviation divided by that of eight bytes
};

// The permutation PCG RXS-M-XS of 32 bits (O'Neill 2014), as a hash (Jarzynski
// and Olano 2020).
uint pcg(uint v) {
    uint state = v * 747796405u + 2891336453u;
    uint word = ((state >> ((state >> 28) + 4)) ^ state) * 277803737u;
    return (word >> 22) ^ word;
}

uint sum_of_bytes(uint v) {
    v = (v & 0x00ff00ffu) + ((v >> 8) & 0x00ff00ffu);
    return (v & 0xffffu) + (v >> 16);
}

float number(uint i) {
    uint a = pcg(pcg(i) ^ seed), b = pcg(a ^ 0x9e3779b9u);
    return mean + step * float(int(sum_of_bytes(a) + sum_of_bytes(b)) - 1020);
}

void main() {
    const uint job = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    const uint i = (job * gl_WorkGroupSize.x + gl_LocalInvocationID.x) * 4;
    if (i < count) store_act(x, i, vec4(number(i), number(i + 1), number(i + 2), number(i + 3)));
}
