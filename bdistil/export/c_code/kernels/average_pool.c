/* out (channels, out_height, out_width): the mean of each window, zeros beyond the rim. */
static inline void ensemble_average_pool(float *out, const float *x, const ensemble_window *w) {
    const float count = (float)(w->kernel_height * w->kernel_width);
    for (long c = 0; c < w->channels; c++, x += w->height * w->width)
        for (long row = 0; row < w->out_height; row++)
            for (long column = 0; column < w->out_width; column++) {
                float sum = 0.0f;
                for (long i = 0; i < w->kernel_height; i++)
                    for (long j = 0; j < w->kernel_width; j++) {
                        const long y = row * w->stride_height - w->padding_height + i;
                        const long z = column * w->stride_width - w->padding_width + j;
                        if (y >= 0 && y < w->height && z >= 0 && z < w->width)
                            sum += x[y * w->width + z];
                    }
                *out++ = sum / count;
            }
}
