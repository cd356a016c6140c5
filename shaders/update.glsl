// The optimizer steps of one dispatch: where each update's numbers lie, and
// what to do with them. Mirrored by engine/op_optimizer.go.
struct Update { // one adapter; 96 bytes
    F32 weights;      // [count] the master copy
    F32 gradient;     // [count] sums over targets
    F32 mean;         // [count] first moments; null with SGD
    F32 variance;     // [count] second moments; null with SGD
    uvec2 copy;       // ACT [count] what the other kernels read; null: the master
    Floats partials;  // [PARTS] sums of squares of shares of the gradient
    uint count;       // floats, a multiple of 4
    uint kind;        // ADAMW, SGD
    float divisor;    // the gradient is divided by it
    float clip;       // largest norm; 0: any
    float rate;       // learning rate, with ADAMW over the mean's bias correction
    float decay;      // share of the weights that is taken off
    float beta1, rest1; // of the mean: what stays, and 1 - beta1, which a device would round
    float beta2, rest2; // of the variance
    float eps;
    float correction; // square root of the variance's bias correction
};
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Updates { Update v[]; };

const uint PARTS = 64; // of a gradient; mirrored by engine/op_grad_norm.go
const uint ADAMW = 0, SGD = 1;

// share_of is the workgroup's share of the floats: the first and the one behind
// the last. Workgroups are counted by x.
uvec2 share_of(uint count) {
    const uint each = (count / 4 + gl_NumWorkGroups.x - 1) / gl_NumWorkGroups.x * 4, first = gl_WorkGroupID.x * each;
    return min(uvec2(first, first + each), uvec2(count));
}
