/* A row of weights times an input and a row of others times a state are what gates are made of. */
static inline float ensemble_gate(const float *weight, const float *bias, long row, const float *x,
                                  long size) {
    float sum = bias ? bias[row] : 0.0f;
    for (long i = 0; i < size; i++) sum += weight[row * size + i] * x[i];
    return sum;
}

static inline float ensemble_sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
