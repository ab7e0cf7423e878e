/* out (count, rows, columns) = left (count, rows, inner) times right (count, inner, columns). */
static inline void ensemble_multiply(float *out, const float *left, const float *right, long count,
                                     long rows, long inner, long columns) {
    for (long n = 0; n < count; n++, right += inner * columns)
        for (long row = 0; row < rows; row++, left += inner)
            for (long column = 0; column < columns; column++) {
                float sum = 0.0f;
                for (long i = 0; i < inner; i++) sum += left[i] * right[i * columns + column];
                *out++ = sum;
            }
}
