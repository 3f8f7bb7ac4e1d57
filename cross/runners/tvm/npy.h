/* NumPy's .npy files: tensors as they come and go (format 1.0, C order, little endian). */
#ifndef EDGEKIT_NPY_H
#define EDGEKIT_NPY_H

#include <dlpack/dlpack.h>
#include <stdint.h>
#include <stdio.h>

#define NPY_MOST_RANK 8

typedef struct {
  int code, bits, rank; /* code and bits as DLDataType has them */
  int64_t shape[NPY_MOST_RANK];
} npy_header;

/* Bytes of the values. */
size_t npy_size(const npy_header *header);

/* Read the header; the values come next in the file. Returns NULL, or what is wrong. */
const char *npy_read_header(FILE *file, npy_header *header);

/* Write a contiguous tensor. Returns NULL, or what is wrong. */
const char *npy_write(const char *path, const DLTensor *tensor);

#endif
