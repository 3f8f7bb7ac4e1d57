/* Resize, pad, normalise, quantise and lay out a frame in one pass over its rows. */

#include "cpu.h"
#include "steps.h"

typedef float Four __attribute__((vector_size(16)));

/* Adding it leaves no room for binary digits after the point: half to even, up to 2^22. */
#define ROUNDING 12582912.0f

static inline Four load(const float *from)
{
    Four four;
    __builtin_memcpy(&four, from, sizeof four);
    return four;
}

INLINE void blend_rows_of(const uint8_t *near, const uint8_t *far, float weight, float *line,
                          int count)
{
    for (int i = 0; i < count; i++) {
        float first = near[i];
        line[i] = (far[i] - first) * weight + first;
    }
}

INLINE void quantise_of(const float *line, uint8_t *bytes, int count, float low, float high)
{
    for (int i = 0; i < count; i++) {
        float value = line[i] < low ? low : line[i];
        value = value > high ? high : value;
        bytes[i] = (uint8_t)(int32_t)((value + ROUNDING) - ROUNDING);
    }
}

static void blend_rows_plain(const uint8_t *near, const uint8_t *far, float weight, float *line,
                             int count)
{
    blend_rows_of(near, far, weight, line, count);
}

static void quantise_plain(const float *line, uint8_t *bytes, int count, float low, float high)
{
    quantise_of(line, bytes, count, low, high);
}

typedef struct {
    void (*blend_rows)(const uint8_t *, const uint8_t *, float, float *, int);
    void (*quantise)(const float *, uint8_t *, int, float, float);
} Loops;

#if defined(__x86_64__)
WIDE
static void blend_rows_avx2(const uint8_t *near, const uint8_t *far, float weight, float *line,
                            int count)
{
    blend_rows_of(near, far, weight, line, count);
}

WIDE
static void quantise_avx2(const float *line, uint8_t *bytes, int count, float low, float high)
{
    quantise_of(line, bytes, count, low, high);
}

static Loops loops_here(void)
{
    Loops wide = {blend_rows_avx2, quantise_avx2}, plain = {blend_rows_plain, quantise_plain};
    return has_avx2() ? wide : plain;
}
#else
static Loops loops_here(void)
{
    Loops plain = {blend_rows_plain, quantise_plain};
    return plain;
}
#endif

/* One pixel of a row, between two columns, normalised. */
INLINE Four blend_pixel(const Image *image, const float *line, int x, Four gain, Four offset)
{
    Four near = load(line + 3 * image->column_near[x]);
    Four far = load(line + 3 * image->column_far[x]);
    Four value = ((far - near) * image->column_weight[x] + near) * gain + offset;
    return image->bgr ? __builtin_shufflevector(value, value, 2, 1, 0, 3) : value;
}

/* A row, 3 floats for each pixel of the window. */
static void blend_columns(const Image *image, const float *line, float *window)
{
    int swap = image->bgr ? 2 : 0;
    Four gain = {image->gain[swap], image->gain[1], image->gain[2 - swap], 0};
    Four offset = {image->offset[swap], image->offset[1], image->offset[2 - swap], 0};
    int last = image->right - image->left - 1;
    /* The fourth float is nobody's: the next pixel overwrites it, and the last one spares it. */
    for (int x = 0; x < last; x++) {
        Four value = blend_pixel(image, line, x, gain, offset);
        __builtin_memcpy(window + 3 * x, &value, sizeof value);
    }
    Four value = blend_pixel(image, line, last, gain, offset);
    for (int channel = 0; channel < 3; channel++)
        window[3 * last + channel] = value[channel];
}

/* Spread a row of the input over the tensor. Each cell takes `deep` elements of it, which become
 * neighbours among the cell's channels (channels last), or lie a plane apart. */
#define SPREAD(name, Element)                                                                    \
    INLINE void name##_of(const Image *image, int y, const Element *line, Element *tensor,       \
                          int deep)                                                              \
    {                                                                                            \
        int block = image->block, cells = image->width / block;                                  \
        size_t before = (size_t)(y / block) * cells, plane = (size_t)(image->height / block);    \
        int first = y % block * deep;                                                            \
        plane *= cells;                                                                          \
        if (image->channels_last) {                                                              \
            Element *cell = tensor + before * deep * block + first;                              \
            for (int x = 0; x < cells; x++, cell += deep * block, line += deep)                  \
                for (int i = 0; i < deep; i++)                                                   \
                    cell[i] = line[i];                                                           \
            return;                                                                              \
        }                                                                                        \
        for (int i = 0; i < deep; i++) {                                                         \
            Element *cell = tensor + (first + i) * plane + before;                               \
            for (int x = 0; x < cells; x++)                                                      \
                cell[x] = line[x * deep + i];                                                    \
        }                                                                                        \
    }                                                                                            \
                                                                                                 \
    static void name(const Image *image, int y, const Element *line, Element *tensor)            \
    {                                                                                            \
        /* With a depth that the compiler knows, the inner loops dissolve. */                    \
        if (image->block == 1)                                                                   \
            name##_of(image, y, line, tensor, 3);                                                \
        else if (image->block == 2)                                                              \
            name##_of(image, y, line, tensor, 6);                                                \
        else                                                                                     \
            name##_of(image, y, line, tensor, 3 * image->block);                                 \
    }

SPREAD(spread_floats, float)
SPREAD(spread_bytes, uint8_t)

static void put_row(const Image *image, int y, const float *line, void *tensor, float *scratch,
                    const Loops *loops)
{
    int count = 3 * image->width;
    int as_it_is = image->channels_last && image->block == 1;
    if (image->dtype == FLOAT32) {
        if (as_it_is)
            __builtin_memcpy((float *)tensor + (size_t)y * count, line, count * sizeof(float));
        else
            spread_floats(image, y, line, tensor);
        return;
    }
    uint8_t *bytes = as_it_is ? (uint8_t *)tensor + (size_t)y * count : (uint8_t *)scratch;
    float low = image->dtype == INT8 ? -128 : 0;
    loops->quantise(line, bytes, count, low, low + 255);
    if (!as_it_is)
        spread_bytes(image, y, bytes, tensor);
}

void steps_image(const Image *image, const uint8_t *frame, void *tensor, float *scratch)
{
    Loops loops = loops_here();
    int pixels = image->frame_width;
    float *blended = scratch;                /* a row of the frame, and one float to spare */
    float *line = blended + 3 * pixels + 4;  /* a row of the input */
    float *rest = line + 3 * image->width;
    for (int i = 0; i < 3 * image->width; i++)
        line[i] = image->pad[i % 3];
    for (int y = 0; y < image->height; y++)
        if (y < image->top || y >= image->bottom)
            put_row(image, y, line, tensor, rest, &loops);
    blended[3 * pixels] = 0;
    for (int y = image->top; y < image->bottom; y++) {
        int row = y - image->top;
        const uint8_t *near = frame + (size_t)image->row_near[row] * 3 * pixels;
        const uint8_t *far = frame + (size_t)image->row_far[row] * 3 * pixels;
        loops.blend_rows(near, far, image->row_weight[row], blended, 3 * pixels);
        blend_columns(image, blended, line + 3 * image->left);
        put_row(image, y, line, tensor, rest, &loops);
    }
}
