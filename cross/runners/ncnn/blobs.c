#include "blobs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

#define LONGEST 65536

/* Return what follows a key before `end`. No string of JSON can pass for a key: within one, its
 * quotes have backslashes. */
static const char *after(const char *text, const char *end, const char *key) {
  const char *at = strstr(text, key);
  return at && at < end ? at + strlen(key) : NULL;
}

static int copy_string(const char *at, char *into) {
  size_t size = strcspn(at, "\"\\");
  if (at[size] != '"' || size >= BLOBS_LONGEST_NAME) return 0;
  memcpy(into, at, size);
  into[size] = 0;
  return 1;
}

static int read_shape(const char *at, blob *into) {
  for (into->rank = 0; *at && *at != ']'; into->rank++) {
    char *end;
    if (into->rank == NPY_MOST_RANK) return 0;
    into->shape[into->rank] = strtoll(at, &end, 10);
    if (end == at || into->shape[into->rank] < 1) return 0;
    for (at = end; *at == ',' || *at == ' ';) at++;
  }
  return *at == ']';
}

/* Read the objects of one list. Returns how many, or -1. */
static int read_list(const char *text, const char *key, blob *into) {
  const char *end = text + strlen(text), *at = after(text, end, key);
  if (!at) return -1;
  int count = 0;
  while (*at == '{' || *at == ',' || *at == ' ') {
    const char *close = strchr(at, '}');
    if (!close || count == BLOBS_MOST) return -1;
    const char *name = after(at, close, "\"blob\": \""), *shape = after(at, close, "\"shape\": [");
    if (!name || !shape || !copy_string(name, into[count].name) || !read_shape(shape, &into[count]))
      return -1;
    count++;
    at = close + 1;
  }
  return *at == ']' ? count : -1;
}

void blobs_read(const char *path, blobs *found) {
  static char text[LONGEST + 1];
  FILE *file = fopen(path, "rb");
  if (!file) end_with(path, strerror(errno));
  size_t size = fread(text, 1, LONGEST, file);
  fclose(file);
  text[size] = 0;
  const char *version = after(text, text + size, "\"ncnn\": \"");
  found->input_count = read_list(text, "\"inputs\": [", found->inputs);
  found->output_count = read_list(text, "\"outputs\": [", found->outputs);
  if (!version || !copy_string(version, found->version) || found->input_count < 1 ||
      found->output_count < 1)
    end_with(path, "is not as edgekit writes it");
}

int64_t blob_size(const blob *each) {
  int64_t size = 1;
  for (int axis = 0; axis < each->rank; axis++) size *= each->shape[axis];
  return size;
}
