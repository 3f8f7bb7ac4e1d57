/* Candidates of YOLOv5: which cells pass, and their boxes. */

#include "steps.h"

#define INLINE static inline __attribute__((always_inline))

enum { BOX_FIELDS = 5, OBJECTNESS = 4 };

/* exp of a number in [-104, 0], to 2 units in the last place.
 * Source: Cephes 2.2, single/expf.c (reduction by ln 2 in two parts, and its polynomial). */
static float exponential(float x)
{
    float twos = (x * 1.44269504088896341f + 12582912.0f) - 12582912.0f;
    x = (x - twos * 0.693359375f) - twos * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * x + 1.3981999507e-3f;
    p = p * x + 8.3334519073e-3f;
    p = p * x + 4.1665795894e-2f;
    p = p * x + 1.6666665459e-1f;
    p = p * x + 5.0000001201e-1f;
    p = p * (x * x) + x + 1.0f;
    union { int32_t bits; float value; } half;
    /* In two factors: one alone cannot hold the powers below 2^-126. */
    int32_t low = (int32_t)twos / 2, high = (int32_t)twos - low;
    half.bits = (low + 127) << 23;
    p *= half.value;
    half.bits = (high + 127) << 23;
    return p * half.value;
}

static float logistic(float x)
{
    float size = x < 0 ? x : -x;
    float small = size > -104.0f ? exponential(size) : 0.0f;
    return (x < 0 ? small : 1.0f) / (small + 1.0f);
}

static void add(const Candidates *candidates, int32_t at, const float centre[4], float score,
                int32_t kind)
{
    if (at >= candidates->capacity)
        return;
    float *box = candidates->boxes + 4 * (int64_t)at;
    float half_width = centre[2] / 2, half_height = centre[3] / 2;
    box[0] = centre[0] - half_width;
    box[1] = centre[1] - half_height;
    box[2] = centre[0] + half_width;
    box[3] = centre[1] + half_height;
    candidates->scores[at] = score;
    candidates->classes[at] = kind;
}

/* The head's value at an index, in its own units. Inlined for each dtype. */
INLINE float raw_at(const void *values, int dtype, int64_t at)
{
    if (dtype == FLOAT32)
        return ((const float *)values)[at];
    if (dtype == INT8)
        return ((const int8_t *)values)[at];
    return ((const uint8_t *)values)[at];
}

INLINE float logistic_of(const Head *head, int dtype, float raw)
{
    return dtype == FLOAT32 ? logistic(raw) : head->sigmoids[(uint8_t)(int32_t)raw];
}

static void decode_box(const Head *head, const float shares[4], int anchor, int cell,
                       float centre[4])
{
    float left = (float)(cell % head->columns) - 0.5f;
    float top = (float)(cell / head->columns) - 0.5f;
    float width = shares[2] * 2, height = shares[3] * 2;
    centre[0] = (shares[0] * 2 + left) * head->stride;
    centre[1] = (shares[1] * 2 + top) * head->stride;
    centre[2] = width * width * head->anchor_sizes[2 * anchor];
    centre[3] = height * height * head->anchor_sizes[2 * anchor + 1];
}

INLINE int32_t scan_cell(const Head *head, const void *values, int dtype, int anchor, int cell,
                         int64_t first, int64_t step, const Rules *rules,
                         const Candidates *candidates, int32_t count)
{
    float objectness = logistic_of(head, dtype, raw_at(values, dtype, first + OBJECTNESS * step));
    int64_t classes = first + BOX_FIELDS * step;
    int from = 0, to = head->classes;
    if (!rules->multi_label) {
        float most = raw_at(values, dtype, classes);
        for (int kind = 1; kind < head->classes; kind++) {
            float raw = raw_at(values, dtype, classes + kind * step);
            if (raw > most) {
                most = raw;
                from = kind;
            }
        }
        to = from + 1;
    }
    float centre[4];
    int decoded = 0;
    for (int kind = from; kind < to; kind++) {
        float raw = raw_at(values, dtype, classes + kind * step);
        if (!(raw > head->bound))
            continue;
        float score = logistic_of(head, dtype, raw) * objectness;
        if (!(score > rules->score_threshold))
            continue;
        if (!decoded) {
            float shares[4];
            for (int i = 0; i < 4; i++)
                shares[i] = logistic_of(head, dtype, raw_at(values, dtype, first + i * step));
            decode_box(head, shares, anchor, cell, centre);
            decoded = 1;
        }
        add(candidates, count++, centre, score, kind);
    }
    return count;
}

INLINE int32_t scan_head(const Head *head, const void *values, int dtype, const Rules *rules,
                         const Candidates *candidates, int32_t count)
{
    int64_t fields = BOX_FIELDS + head->classes, cells = (int64_t)head->rows * head->columns;
    int64_t step = head->channels_last ? 1 : cells;
    int64_t next = head->channels_last ? head->anchors * fields : 1;
    for (int anchor = 0; anchor < head->anchors; anchor++) {
        int64_t first = anchor * fields * step;
        for (int64_t cell = 0; cell < cells; cell++, first += next)
            if (raw_at(values, dtype, first + OBJECTNESS * step) > head->bound)
                count = scan_cell(head, values, dtype, anchor, (int)cell, first, step, rules,
                                  candidates, count);
    }
    return count;
}

static int32_t answer(const Candidates *candidates, int32_t count, const Rules *rules,
                      float *memory)
{
    return count > candidates->capacity ? -count
                                        : steps_detections(candidates, count, rules, memory);
}

int32_t steps_heads(const Head *heads, const void *const *values, int32_t head_count,
                    const Rules *rules, int32_t capacity, float *memory)
{
    Candidates candidates = steps_candidates(rules, capacity, memory);
    int32_t count = 0;
    for (int i = 0; i < head_count; i++) {
        const Head *head = heads + i;
        if (head->dtype == FLOAT32)
            count = scan_head(head, values[i], FLOAT32, rules, &candidates, count);
        else if (head->dtype == INT8)
            count = scan_head(head, values[i], INT8, rules, &candidates, count);
        else
            count = scan_head(head, values[i], UINT8, rules, &candidates, count);
    }
    return answer(&candidates, count, rules, memory);
}

int32_t steps_rows(const float *rows, int32_t row_count, const Rules *rules, int32_t capacity,
                   float *memory)
{
    Candidates candidates = steps_candidates(rules, capacity, memory);
    float score_threshold = rules->score_threshold;
    int32_t count = 0;
    for (int32_t i = 0; i < row_count; i++) {
        const float *row = rows + (int64_t)i * (BOX_FIELDS + rules->classes);
        float objectness = row[OBJECTNESS], most = -1;
        if (!(objectness > score_threshold))
            continue;
        int best = 0;
        for (int kind = 0; kind < rules->classes; kind++) {
            float score = row[BOX_FIELDS + kind] * objectness;
            if (rules->multi_label && score > score_threshold)
                add(&candidates, count++, row, score, kind);
            if (score > most) {
                most = score;
                best = kind;
            }
        }
        if (!rules->multi_label && most > score_threshold)
            add(&candidates, count++, row, most, best);
    }
    return answer(&candidates, count, rules, memory);
}
