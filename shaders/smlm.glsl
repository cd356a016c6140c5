// The adapters' side of a product: what the slot table and the parts of a
// product look like in device memory. Mirrored by engine/slots.go and
// engine/product.go.
struct Slot { // one adapter in one module; 48 bytes
    ACT a;         // A [rank, in]; null where the adapter leaves the module alone
    ACT b;         // B [out, rank]
    Floats gain;   // DoRA: magnitude / norm of each output; null without
    F32 da;        // gradients of A and B, laid out as they are; null but for a job's slot
    F32 db;
    uint rank;     // a multiple of 4: A's rows and B's columns are zero-padded
    float scale;   // alpha / rank, or alpha / sqrt(rank) with rsLoRA
};
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Slots { Slot v[]; };

struct Part { // one module of a product whose modules share their input; 32 bytes
    uvec2 w;       // WEIGHT [n, in]
    Floats bias;   // [n] or null
    Slots slots;   // this module's row of the slot table
    uint n;        // outputs
    uint offset;   // of this part's first column in a row of Y
};
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Parts { Part v[]; };
