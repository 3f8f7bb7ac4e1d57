/* A camera's bytes to RGB; edgekit/onboard/camera/pixels.py says by which arithmetic. */

#include "colour.h"
#include "cpu.h"
#include "steps.h"

/* Pixels that are worked on at a time: what lies between the loops stays in the nearest cache. */
#define BLOCK 128

/* Where c_step is known when it is compiled, each loop is one for vectors. count is even. */
INLINE void yuv_block(const uint8_t *y, const uint8_t *u, const uint8_t *v, int c_step, int count,
                      uint8_t *rgb)
{
    int32_t red[BLOCK], green[BLOCK], blue[BLOCK];
    for (int i = 0; i < count / 2; i++) {
        int32_t d = u[c_step * i], e = v[c_step * i];
        red[2 * i] = red[2 * i + 1] = to_red(e);
        green[2 * i] = green[2 * i + 1] = to_green(d, e);
        blue[2 * i] = blue[2 * i + 1] = to_blue(d);
    }
    for (int i = 0; i < count; i++) {
        int32_t c = luma(y[i]);
        rgb[3 * i] = clipped(c + red[i]);
        rgb[3 * i + 1] = clipped(c + green[i]);
        rgb[3 * i + 2] = clipped(c + blue[i]);
    }
}

INLINE int at_most_a_block(int pixels)
{
    return pixels < BLOCK ? pixels : BLOCK;
}

INLINE void planar_row(const uint8_t *y, const uint8_t *u, const uint8_t *v, int c_step, int width,
                       uint8_t *rgb)
{
    for (int x = 0; x < width; x += BLOCK)
        yuv_block(y + x, u + c_step * (x / 2), v + c_step * (x / 2), c_step,
                  at_most_a_block(width - x), rgb + 3 * (size_t)x);
}

/* The shifts say which byte of a word, the lowest one first, is what: every CPU that this is
 * compiled for has that order. To take words apart is faster than to gather bytes. */
INLINE void packed_row(const uint8_t *line, int y_shift, int u_shift, int v_shift, int width,
                       uint8_t *rgb)
{
    uint8_t y[BLOCK], u[BLOCK / 2], v[BLOCK / 2];
    for (int x = 0; x < width; x += BLOCK, line += 2 * BLOCK) {
        int count = at_most_a_block(width - x);
        for (int i = 0; i < count; i++) {
            uint16_t pair;
            __builtin_memcpy(&pair, line + 2 * i, sizeof pair);
            y[i] = (uint8_t)(pair >> y_shift);
        }
        for (int i = 0; i < count / 2; i++) {
            uint32_t word;
            __builtin_memcpy(&word, line + 4 * i, sizeof word);
            u[i] = (uint8_t)(word >> u_shift);
            v[i] = (uint8_t)(word >> v_shift);
        }
        yuv_block(y, u, v, 1, count, rgb + 3 * (size_t)x);
    }
}

INLINE void row_of(int32_t format, int32_t y, int32_t width, int32_t height, size_t stride,
                   const uint8_t *data, uint8_t *rgb)
{
    const uint8_t *line = data + y * stride;
    const uint8_t *chroma = data + height * stride + (y / 2) * stride;          /* NV12, NV21 */
    const uint8_t *first = data + height * stride + (y / 2) * (stride / 2);     /* YU12 */
    const uint8_t *second = first + (height / 2) * (stride / 2);
    switch (format) {
    case YUYV: packed_row(line, 0, 8, 24, width, rgb); break;
    case UYVY: packed_row(line, 8, 0, 16, width, rgb); break;
    case NV12: planar_row(line, chroma, chroma + 1, 2, width, rgb); break;
    case NV21: planar_row(line, chroma + 1, chroma, 2, width, rgb); break;
    case YU12: planar_row(line, first, second, 1, width, rgb); break;
    case GREY:
        for (int x = 0; x < width; x++)
            rgb[3 * x] = rgb[3 * x + 1] = rgb[3 * x + 2] = line[x];
        break;
    case BGR3:
        for (int x = 0; x < width; x++) {
            rgb[3 * x] = line[3 * x + 2];
            rgb[3 * x + 1] = line[3 * x + 1];
            rgb[3 * x + 2] = line[3 * x];
        }
        break;
    case RGB3: __builtin_memcpy(rgb, line, 3 * (size_t)width); break;
    }
}

INLINE void frame_of(int32_t format, int32_t width, int32_t height, int32_t stride,
                     const uint8_t *data, uint8_t *rgb)
{
    for (int32_t y = 0; y < height; y++)
        row_of(format, y, width, height, (size_t)stride, data, rgb + 3 * (size_t)width * y);
}

#if defined(__x86_64__)
WIDE
static void frame_avx2(int32_t format, int32_t width, int32_t height, int32_t stride,
                       const uint8_t *data, uint8_t *rgb)
{
    frame_of(format, width, height, stride, data, rgb);
}
#endif

void steps_rgb(int32_t format, int32_t width, int32_t height, int32_t stride, const uint8_t *data,
               uint8_t *rgb)
{
#if defined(__x86_64__)
    if (has_avx2()) {
        frame_avx2(format, width, height, stride, data, rgb);
        return;
    }
#endif
    frame_of(format, width, height, stride, data, rgb);
}
