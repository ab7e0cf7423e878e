/* out (outputs, out_height, out_width); weight (outputs, channels / groups, kernel sides). */
static inline void ensemble_convolve(float *out, const float *x, const float *weight,
                                     const float *bias, long groups, const ensemble_window *w) {
    const long channels = w->channels / groups;
    const long kernel = channels * w->kernel_height * w->kernel_width;
    for (long o = 0; o < w->outputs; o++, weight += kernel) {
        const float *image = x + o / (w->outputs / groups) * channels * w->height * w->width;
        for (long row = 0; row < w->out_height; row++)
            for (long column = 0; column < w->out_width; column++) {
                const float *factor = weight;
                float sum = bias ? bias[o] : 0.0f;
                for (long c = 0; c < channels; c++)
                    for (long i = 0; i < w->kernel_height; i++) {
                        const long y = row * w->stride_height - w->padding_height +
                                       i * w->dilation_height;
                        for (long j = 0; j < w->kernel_width; j++, factor++) {
                            const long z = column * w->stride_width - w->padding_width +
                                           j * w->dilation_width;
                            if (y >= 0 && y < w->height && z >= 0 && z < w->width)
                                sum += *factor * image[(c * w->height + y) * w->width + z];
                        }
                    }
                *out++ = sum;
            }
    }
}
