/* blobs.json, which edgekit leaves beside a model: how its tensors are ncnn's blobs. */
#ifndef EDGEKIT_BLOBS_H
#define EDGEKIT_BLOBS_H

#include "npy.h"

#define BLOBS_MOST 16
#define BLOBS_LONGEST_NAME 64

typedef struct {
  char name[BLOBS_LONGEST_NAME];
  int rank;
  int64_t shape[NPY_MOST_RANK]; /* of an input: ncnn's, without the batch; of an output: the model's */
} blob;

typedef struct {
  blob inputs[BLOBS_MOST], outputs[BLOBS_MOST];
  int input_count, output_count;
  char version[BLOBS_LONGEST_NAME]; /* of the ncnn for which the model was made */
} blobs;

/* Read the file. Ends the program where it cannot. */
void blobs_read(const char *path, blobs *found);

/* How many values a blob has. */
int64_t blob_size(const blob *each);

#endif
