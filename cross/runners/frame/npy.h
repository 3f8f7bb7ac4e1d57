/* NumPy's .npy files: tensors as they come and go (format 1.0, C order, little endian). */
#ifndef EDGEKIT_NPY_H
#define EDGEKIT_NPY_H

#include <stdint.h>
#include <stdio.h>

#define NPY_MOST_RANK 8

/* Numbered as DLDataTypeCode is. */
enum { NPY_INT = 0, NPY_UINT = 1, NPY_FLOAT = 2, NPY_BOOL = 6 };

typedef struct {
  int code, bits, rank;
  int64_t shape[NPY_MOST_RANK];
} npy_header;

/* Bytes of the values. */
size_t npy_size(const npy_header *header);

/* Read the header; the values come next in the file. Returns NULL, or what is wrong. */
const char *npy_read_header(FILE *file, npy_header *header);

/* Write contiguous values. Returns NULL, or what is wrong. */
const char *npy_write(const char *path, const npy_header *header, const void *values);

#endif
