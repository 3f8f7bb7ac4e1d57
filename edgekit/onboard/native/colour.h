/* YUV to RGB, in integers; edgekit/onboard/camera/pixels.py says by which arithmetic. */

#ifndef EDGEKIT_COLOUR_H
#define EDGEKIT_COLOUR_H

#include <stdint.h>

#include "cpu.h"

INLINE int32_t luma(int32_t y)
{
    return 298 * (y - 16);
}

INLINE int32_t to_red(int32_t v)
{
    return 409 * (v - 128) + 128;
}

INLINE int32_t to_green(int32_t u, int32_t v)
{
    return 128 - 100 * (u - 128) - 208 * (v - 128);
}

INLINE int32_t to_blue(int32_t u)
{
    return 516 * (u - 128) + 128;
}

INLINE uint8_t clipped(int32_t value)
{
    value >>= 8;
    value = value < 0 ? 0 : value;
    return (uint8_t)(value > 255 ? 255 : value);
}

#endif
