/* One direction of a layer: out (steps, stride), of which it writes the first `width` columns. */
static inline void ensemble_lstm(float *out, float *state, float *memory, const float *x,
                                 const float *weight_x, const float *weight_h, const float *bias_x,
                                 const float *bias_h, long steps, long inputs, long width,
                                 long stride, int backwards) {
    for (long step = 0; step < steps; step++) {
        const long time = backwards ? steps - 1 - step : step;
        const float *now = x + time * inputs;
        float *next = out + time * stride;
        for (long j = 0; j < width; j++) {
            float gate[4];
            for (long k = 0; k < 4; k++)
                gate[k] = ensemble_gate(weight_x, bias_x, k * width + j, now, inputs) +
                          ensemble_gate(weight_h, bias_h, k * width + j, state, width);
            memory[j] = ensemble_sigmoid(gate[1]) * memory[j] +
                        ensemble_sigmoid(gate[0]) * tanhf(gate[2]);
            next[j] = ensemble_sigmoid(gate[3]) * tanhf(memory[j]);
        }
        for (long j = 0; j < width; j++) state[j] = next[j];
    }
}
