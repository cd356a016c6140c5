// Workgroups that share a piece of work: the last to finish goes on with what all
// of them have left. A counter is zero before and after.
layout(buffer_reference, std430, buffer_reference_align = 4) coherent buffer Counters { uint v[]; };

shared bool last;

// last_to_finish tells whether this workgroup is the last of so many that
// share a counter. What they wrote to coherent buffers before is visible to it.
bool last_to_finish(Counters counters, uint counter, uint workgroups) {
    memoryBarrierBuffer();
    barrier();
    if (gl_LocalInvocationID.x == 0) {
        last = atomicAdd(counters.v[counter], 1u) == workgroups - 1;
        if (last) counters.v[counter] = 0; // ready for the next dispatch
    }
    barrier();
    memoryBarrierBuffer();
    return last;
}
