/* Each row of x (rows, size) to mean 0 and variance 1. Then weight and bias: there are `weights` of
   each, every one for `places` values in a row, and after the last the first follows. */
static inline void ensemble_normalise(float *out, const float *x, const float *weight,
                                      const float *bias, long rows, long size, long weights,
                                      long places, float epsilon) {
    for (long row = 0; row < rows; row++) {
        float mean = 0.0f, variance = 0.0f;
        for (long i = 0; i < size; i++) mean += x[row * size + i];
        mean /= (float)size;
        for (long i = 0; i < size; i++) {
            const float off = x[row * size + i] - mean;
            variance += off * off;
        }
        const float scale = 1.0f / sqrtf(variance / (float)size + epsilon);
        for (long i = row * size; i < (row + 1) * size; i++) {
            const long channel = i / places % weights;
            out[i] = (x[i] - mean) * scale * (weight ? weight[channel] : 1.0f) +
                     (bias ? bias[channel] : 0.0f);
        }
    }
}
