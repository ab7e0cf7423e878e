/* A window that moves over an image (channels, height, width); a sequence has height 1. */
typedef struct {
    long channels, outputs, height, width, out_height, out_width, kernel_height, kernel_width;
    long stride_height, stride_width, padding_height, padding_width;
    long dilation_height, dilation_width;
} ensemble_window;
