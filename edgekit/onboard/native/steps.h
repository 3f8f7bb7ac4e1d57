/* What the steps of pre- and postprocessing do in C; NumPy does the same where this is absent.
 *
 * Callers check every size and hand over all memory: nothing here allocates, and nothing fails.
 * Arithmetic is float32 in NumPy's own order (-ffp-contract=off), so that both give equal results.
 */

#ifndef EDGEKIT_STEPS_H
#define EDGEKIT_STEPS_H

#include <stddef.h>
#include <stdint.h>

/* Counts up when a structure or a function changes; edgekit/onboard/native/binding.py asks. */
#define STEPS_VERSION 3

enum { FLOAT32 = 0, INT8 = 1, UINT8 = 2 };

/* How a camera's bytes lie; see edgekit/onboard/camera/pixels.py. */
enum { YUYV, UYVY, NV12, NV21, YU12, GREY, RGB3, BGR3 };

/* How a frame becomes a tensor; see edgekit/onboard/steps/images.py. */
typedef struct {
    int32_t frame_width;                       /* pixels in a row of the frame */
    int32_t height, width;                     /* of the input, before blocks */
    int32_t top, bottom, left, right;          /* the window that the frame fills */
    int32_t block, channels_last, bgr, dtype;
    float gain[3], offset[3], pad[3];          /* channels as fed; pad is normalised already */
    const int32_t *row_near, *row_far;         /* for each row of the window */
    const float *row_weight;
    const int32_t *column_near, *column_far;   /* for each column of the window */
    const float *column_weight;
} Image;

/* A raw head of YOLOv5: [anchors * (5 + classes), rows, columns], or channels last. */
typedef struct {
    int32_t dtype, channels_last;
    int32_t anchors, classes, rows, columns;
    float bound;                /* a logit at or below it cannot pass; in the head's own units */
    float stride;
    const float *anchor_sizes;  /* width and height for each anchor */
    const float *sigmoids;      /* integers: the logistic of each byte's value */
} Head;

/* What of the candidates is answered, and where it lies on the frame. */
typedef struct {
    int32_t most_candidates, most_detections, classes, multi_label;
    float score_threshold, iou_threshold;
    float offset[2], gain[2], limit[2]; /* x, y */
} Rules;

/* Boxes x0, y0, x1, y1 on the input that passed the score threshold. */
typedef struct {
    float *boxes;
    float *scores;
    int32_t *classes;
    int32_t capacity;
} Candidates;

int32_t steps_version(void);

/* Write the tensor. scratch: 3 * frame_width + 6 * width + 8 floats. */
void steps_image(const Image *image, const uint8_t *frame, void *tensor, float *scratch);

/* A camera's frame to rgb[height, width, 3]. stride: bytes of a line of the first plane; the
 * planes follow one another. Widths of all YUV formats are even, and heights of those with planes. */
void steps_rgb(int32_t format, int32_t width, int32_t height, int32_t stride, const uint8_t *data,
               uint8_t *rgb);

/* The same of a YUV format to rgb[height / by, width / by, 3], of the mean of each by x by pixels.
 * by: 2, 4 or 8, and divides both width and height. */
void steps_reduced(int32_t format, int32_t width, int32_t height, int32_t stride, int32_t by,
                   const uint8_t *data, uint8_t *rgb);

/* Find, sort, suppress, place. The detections come first in memory: x0, y0, x1, y1, score, class
 * of each. memory: 6 * most_detections + 8 * capacity + classes + 2 * most_detections floats.
 * The answer is how many there are, or, below zero, for how many candidates memory is wanted. */
int32_t steps_heads(const Head *heads, const void *const *values, int32_t head_count,
                    const Rules *rules, int32_t capacity, float *memory);

/* The same from decoded rows [count of rows, 5 + classes]. */
int32_t steps_rows(const float *rows, int32_t row_count, const Rules *rules, int32_t capacity,
                   float *memory);

/* Within the library: detect.c to suppress.c. */
Candidates steps_candidates(const Rules *rules, int32_t capacity, float *memory);
int32_t steps_detections(const Candidates *candidates, int32_t count, const Rules *rules,
                         float *memory);

#endif
