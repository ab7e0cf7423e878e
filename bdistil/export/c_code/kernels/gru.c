/* One direction of a layer: out (steps, stride), of which it writes the first `width` columns. */
static inline void ensemble_gru(float *out, float *state, const float *x, const float *weight_x,
                                const float *weight_h, const float *bias_x, const float *bias_h,
                                long steps, long inputs, long width, long stride, int backwards) {
    for (long step = 0; step < steps; step++) {
        const long time = backwards ? steps - 1 - step : step;
        const float *now = x + time * inputs;
        float *next = out + time * stride;
        for (long j = 0; j < width; j++) {
            float from_x[3], from_h[3];
            for (long k = 0; k < 3; k++) {
                from_x[k] = ensemble_gate(weight_x, bias_x, k * width + j, now, inputs);
                from_h[k] = ensemble_gate(weight_h, bias_h, k * width + j, state, width);
            }
            const float reset = ensemble_sigmoid(from_x[0] + from_h[0]);
            const float update = ensemble_sigmoid(from_x[1] + from_h[1]);
            const float new_state = tanhf(from_x[2] + reset * from_h[2]);
            next[j] = new_state + update * (state[j] - new_state);
        }
        for (long j = 0; j < width; j++) state[j] = next[j];
    }
}
