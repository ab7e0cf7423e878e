/* Over the middle one of three dimensions (outer, size, inner). */
static inline void ensemble_softmax(float *out, const float *x, long outer, long size, long inner) {
    for (long o = 0; o < outer; o++, x += size * inner, out += size * inner)
        for (long i = 0; i < inner; i++) {
            float largest = x[i], sum = 0.0f;
            for (long s = 1; s < size; s++) largest = fmaxf(largest, x[s * inner + i]);
            for (long s = 0; s < size; s++) {
                out[s * inner + i] = expf(x[s * inner + i] - largest);
                sum += out[s * inner + i];
            }
            for (long s = 0; s < size; s++) out[s * inner + i] /= sum;
        }
}
