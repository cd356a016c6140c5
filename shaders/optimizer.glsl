// One update of an adapter in training. Mirrored by engine/optimizer_row.go.
struct Update { // 112 bytes
    F32 weights;        // [count] float32 master
    F32 gradient;       // [count]: the sum over targets
    F32 mean;           // [count]: AdamW's first moment
    F32 variance;       // [count]: AdamW's second moment
    uvec2 copy;         // [count] in the activation type: what forward reads; null: the master itself
    Floats partials;    // [PARTS]: shares of the gradient's squared norm
    uint count;         // a multiple of 4
    uint kind;          // 0 AdamW, 1 SGD
    float divisor;      // the mean's gradient is the sum's divided by it
    float clip;         // largest norm; 0: any
    float rate, decay;
    float beta1, beta2, eps;
    float correction1;  // 1 - beta1^step
    float correction2;  // sqrt(1 - beta2^step)
    uint padding[5];
};
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Updates { Update v[]; };

const uint PARTS = 64;
