/* Non-maximum suppression, each class apart, and the way back to the frame. */

#include "steps.h"

enum { FEW = 48, DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS };

/* Order indices by falling score; of equal scores the lower index first. */
static int32_t *sort_few(const float *scores, int32_t *order, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        int32_t at = i;
        for (; at > 0 && scores[order[at - 1]] < scores[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    return order;
}

/* The same by radix. Scores lie above zero: their bits rise as they do. */
static int32_t *sort_many(const float *scores, int32_t *order, int32_t *other, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        order[i] = i;
    for (int shift = 0; shift < 32; shift += DIGIT_BITS) {
        int32_t places[DIGITS] = {0};
        for (int32_t i = 0; i < count; i++) {
            uint32_t bits;
            __builtin_memcpy(&bits, scores + i, sizeof bits);
            places[(~bits >> shift) % DIGITS]++;
        }
        int32_t before = 0;
        for (int digit = 0; digit < DIGITS; digit++) {
            int32_t here = places[digit];
            places[digit] = before;
            before += here;
        }
        for (int32_t i = 0; i < count; i++) {
            uint32_t bits;
            __builtin_memcpy(&bits, scores + order[i], sizeof bits);
            other[places[(~bits >> shift) % DIGITS]++] = order[i];
        }
        int32_t *swap = order;
        order = other;
        other = swap;
    }
    return order;
}

static float area(const float *box)
{
    return (box[2] - box[0]) * (box[3] - box[1]);
}

/* Whether the weaker box is covered by the stronger, in NumPy's order of operations. */
static int covers(const float *strong, const float *weak, float iou_threshold)
{
    float across = (strong[2] < weak[2] ? strong[2] : weak[2])
        - (strong[0] > weak[0] ? strong[0] : weak[0]);
    float down = (strong[3] < weak[3] ? strong[3] : weak[3])
        - (strong[1] > weak[1] ? strong[1] : weak[1]);
    float shared = (across > 0 ? across : 0) * (down > 0 ? down : 0);
    return !(shared <= iou_threshold * (area(strong) + area(weak) - shared));
}

static float placed(float edge, const Rules *rules, int axis)
{
    float on_frame = (edge - rules->offset[axis]) / rules->gain[axis];
    on_frame = on_frame > 0 ? on_frame : 0;
    return on_frame < rules->limit[axis] ? on_frame : rules->limit[axis];
}

Candidates steps_candidates(const Rules *rules, int32_t capacity, float *memory)
{
    float *boxes = memory + 6 * (int64_t)rules->most_detections;
    float *scores = boxes + 4 * (int64_t)capacity;
    Candidates candidates = {boxes, scores, (int32_t *)(scores + capacity), capacity};
    return candidates;
}

int32_t steps_detections(const Candidates *candidates, int32_t count, const Rules *rules,
                         float *memory)
{
    int32_t *scratch = candidates->classes + candidates->capacity;
    int32_t *latest = scratch + 2 * (int64_t)candidates->capacity; /* kept, of each class */
    int32_t *earlier = latest + rules->classes; /* the one of its class kept before */
    int32_t *kept = earlier + rules->most_detections;
    int32_t *order = count <= FEW
        ? sort_few(candidates->scores, scratch, count)
        : sort_many(candidates->scores, scratch, scratch + count, count);
    int32_t most = count < rules->most_candidates ? count : rules->most_candidates;
    int32_t found = 0;
    for (int32_t kind = 0; kind < rules->classes; kind++)
        latest[kind] = -1;
    for (int32_t i = 0; i < most && found < rules->most_detections; i++) {
        int32_t index = order[i], kind = candidates->classes[index];
        const float *box = candidates->boxes + 4 * (int64_t)index;
        int32_t other = latest[kind];
        while (other >= 0
               && !covers(candidates->boxes + 4 * (int64_t)kept[other], box, rules->iou_threshold))
            other = earlier[other];
        if (other >= 0)
            continue;
        earlier[found] = latest[kind];
        latest[kind] = found;
        kept[found] = index;
        float *row = memory + 6 * (int64_t)found++;
        for (int edge = 0; edge < 4; edge++)
            row[edge] = placed(box[edge], rules, edge % 2);
        row[4] = candidates->scores[index];
        row[5] = (float)kind;
    }
    return found;
}

int32_t steps_version(void)
{
    return STEPS_VERSION;
}
