/* out (rows, outputs) = x (rows, inputs) times weight (outputs, inputs) transposed, plus bias. */
static inline void ensemble_linear(float *out, const float *x, const float *weight,
                                   const float *bias, long rows, long inputs, long outputs) {
    for (long row = 0; row < rows; row++, x += inputs)
        for (long j = 0; j < outputs; j++) {
            float sum = bias ? bias[j] : 0.0f;
            for (long i = 0; i < inputs; i++) sum += weight[j * inputs + i] * x[i];
            *out++ = sum;
        }
}
