struct Share { // what a workgroup finds in its part of a row; 32 bytes
    float top, total;   // largest logit; sum of exp(logit - top)
    uint id;            // of the largest logit
    float x;            // largest perturbed logit
    uint drawn;         // its token
    uint pad[3];
};
layout(buffer_reference, std430, buffer_reference_align = 16) coherent buffer Shares { Share v[]; };
