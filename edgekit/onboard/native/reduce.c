/* YUV to a smaller RGB picture: of each by x by pixels the mean of their samples, rounded, and of
 * these means the colour; edgekit/onboard/camera/pixels.py does the same.
 *
 * Sums have 16 bits: 8 x 8 samples of 255 fit, and twice as many lie in a vector as would of 32. */

#include "colour.h"
#include "cpu.h"
#include "steps.h"

/* Small pixels that are worked on at a time: all that lies between is in the nearest cache. */
#define BLOCK 64
#define MOST_BY 8
#define SUMS (BLOCK * MOST_BY)

/* Some lines of a plane; across: bytes or pairs of bytes of each that become one mean. */
typedef struct {
    const uint8_t *data;
    size_t stride;
    int lines, across;
} Samples;

/* Add up all lines: of each pair of bytes the first ones and the second ones. A pair is taken as
 * 16 bits: every CPU that this is compiled for has the lowest byte first. */
INLINE void add_lines(const Samples *from, int pairs, uint16_t *first, uint16_t *second)
{
    for (int i = 0; i < pairs; i++)
        first[i] = second[i] = 0;
    for (int line = 0; line < from->lines; line++) {
        const uint8_t *data = from->data + line * from->stride;
        for (int i = 0; i < pairs; i++) {
            uint16_t pair;
            __builtin_memcpy(&pair, data + 2 * i, sizeof pair);
            first[i] += pair & 0xff;
            second[i] += pair >> 8;
        }
    }
}

/* Make each `across` neighbours one, by halves, and of it the mean. `across` and `samples` are
 * powers of two; count is of what comes out. */
INLINE void to_means(uint16_t *sums, int across, int samples, int count)
{
    uint16_t half[SUMS / 2];
    for (; across > 1; across /= 2) {
        int left = count * (across / 2);
        for (int i = 0; i < left; i++)
            half[i] = sums[2 * i] + sums[2 * i + 1];
        __builtin_memcpy(sums, half, left * sizeof *sums);
    }
    int shift = __builtin_ctz(samples);
    for (int i = 0; i < count; i++)
        sums[i] = (uint16_t)(sums[i] + samples / 2) >> shift;
}

/* The means of a plane. */
INLINE void plane_means(const Samples *from, int count, uint16_t *means)
{
    uint16_t second[SUMS / 2];
    if (from->across == 1) {
        for (int i = 0; i < count; i++)
            means[i] = from->data[i];
        return;
    }
    int pairs = count * (from->across / 2);
    add_lines(from, pairs, means, second);
    for (int i = 0; i < pairs; i++)
        means[i] += second[i];
    to_means(means, from->across / 2, from->across * from->lines, count);
}

/* The means of two planes whose samples take turns. */
INLINE void pair_means(const Samples *from, int count, uint16_t *first, uint16_t *second)
{
    add_lines(from, count * from->across, first, second);
    to_means(first, from->across, from->across * from->lines, count);
    to_means(second, from->across, from->across * from->lines, count);
}

/* Luma and chroma take turns, and of chroma U and V; y_first says which is the first of both. */
INLINE void packed_means(const Samples *from, int count, int y_first, uint16_t *y, uint16_t *u,
                         uint16_t *v)
{
    uint16_t other[SUMS];
    int across = from->across, samples = across * from->lines;
    const uint16_t *chroma = y_first ? other : y;
    add_lines(from, count * across, y, other);
    for (int i = 0; i < count * across / 2; i++) {
        u[i] = chroma[2 * i];
        v[i] = chroma[2 * i + 1];
    }
    if (!y_first)
        __builtin_memcpy(y, other, count * across * sizeof *y);
    to_means(y, across, samples, count);
    to_means(u, across / 2, samples / 2, count);
    to_means(v, across / 2, samples / 2, count);
}

INLINE void coloured(const uint16_t *y, const uint16_t *u, const uint16_t *v, int count,
                     uint8_t *rgb)
{
    for (int i = 0; i < count; i++) {
        int32_t c = luma(y[i]);
        rgb[3 * i] = clipped(c + to_red(v[i]));
        rgb[3 * i + 1] = clipped(c + to_green(u[i], v[i]));
        rgb[3 * i + 2] = clipped(c + to_blue(u[i]));
    }
}

/* A block of a row; line and chroma: where the frame's pixels and what follows them begin for it. */
INLINE void block_of(int32_t format, int32_t by, int count, size_t stride, size_t plane,
                     const uint8_t *line, const uint8_t *chroma, uint8_t *rgb)
{
    uint16_t y[SUMS], u[SUMS], v[SUMS];
    Samples whole = {line, stride, by, by};
    Samples half = {chroma, format == YU12 ? stride / 2 : stride, by / 2, by / 2};
    if (format == YUYV || format == UYVY) {
        packed_means(&whole, count, format == YUYV, y, u, v);
    } else {
        plane_means(&whole, count, y);
        if (format == YU12) {
            plane_means(&half, count, u);
            half.data += plane;
            plane_means(&half, count, v);
        } else {
            pair_means(&half, count, u, v);
        }
    }
    coloured(y, format == NV21 ? v : u, format == NV21 ? u : v, count, rgb);
}

INLINE void frame_of(int32_t format, int32_t width, int32_t height, size_t stride, int32_t by,
                     const uint8_t *data, uint8_t *rgb)
{
    int small = width / by;
    int packed = format == YUYV || format == UYVY, planar = format == YU12;
    size_t plane = (height / 2) * (stride / 2);   /* YU12: from U to V */
    for (int y = 0; y < height / by; y++) {
        const uint8_t *line = data + (size_t)by * y * stride;
        const uint8_t *chroma = data + height * stride;
        chroma += (size_t)(by / 2) * y * (planar ? stride / 2 : stride);
        for (int x = 0; x < small; x += BLOCK) {
            size_t across = (size_t)by * x;
            block_of(format, by, small - x < BLOCK ? small - x : BLOCK, stride, plane,
                     line + (packed ? 2 * across : across),
                     packed ? line : chroma + (planar ? across / 2 : across), rgb);
            rgb += 3 * (small - x < BLOCK ? small - x : BLOCK);
        }
    }
}

#if defined(__x86_64__)
WIDE
static void frame_avx2(int32_t format, int32_t width, int32_t height, size_t stride, int32_t by,
                       const uint8_t *data, uint8_t *rgb)
{
    frame_of(format, width, height, stride, by, data, rgb);
}
#endif

void steps_reduced(int32_t format, int32_t width, int32_t height, int32_t stride, int32_t by,
                   const uint8_t *data, uint8_t *rgb)
{
#if defined(__x86_64__)
    if (has_avx2()) {
        frame_avx2(format, width, height, (size_t)stride, by, data, rgb);
        return;
    }
#endif
    frame_of(format, width, height, (size_t)stride, by, data, rgb);
}
