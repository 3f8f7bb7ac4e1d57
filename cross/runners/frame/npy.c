#include "npy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC "\x93NUMPY"
#define MAGIC_SIZE 6
#define PREFIX 10 /* magic, two bytes of version, two of length */
#define ALIGNMENT 64
#define LONGEST 1024

/* Type letters. Source: numpy.lib.format. */
static const struct {
  char letter;
  int code;
} kinds[] = {{'i', NPY_INT}, {'u', NPY_UINT}, {'f', NPY_FLOAT}, {'b', NPY_BOOL}};

#define KINDS (sizeof kinds / sizeof *kinds)

size_t npy_size(const npy_header *header) {
  size_t size = (size_t)header->bits / 8;
  for (int axis = 0; axis < header->rank; axis++) size *= (size_t)header->shape[axis];
  return size;
}

/* Return what follows a key in the header's dictionary. */
static const char *value_of(const char *words, const char *key) {
  const char *at = strstr(words, key);
  if (!at) return NULL;
  at += strlen(key);
  while (*at == ' ' || *at == ':') at++;
  return at;
}

static const char *read_type(const char *words, npy_header *header) {
  const char *type = value_of(words, "'descr'");
  if (!type || type[0] != '\'' || !strchr("<|", type[1])) return "is not little endian";
  for (size_t kind = 0; kind < KINDS; kind++) {
    if (kinds[kind].letter != type[2]) continue;
    header->code = kinds[kind].code;
    header->bits = 8 * atoi(type + 3);
    return header->bits > 0 ? NULL : "has no size in its type";
  }
  return "holds no plain numbers";
}

static const char *read_shape(const char *words, npy_header *header) {
  const char *at = value_of(words, "'shape'");
  if (!at || *at++ != '(') return "has no shape";
  for (header->rank = 0; *at && *at != ')'; header->rank++) {
    char *end;
    if (header->rank == NPY_MOST_RANK) return "has too many axes";
    header->shape[header->rank] = strtoll(at, &end, 10);
    if (end == at || header->shape[header->rank] < 0) return "has an odd shape";
    for (at = end; *at == ',' || *at == ' ';) at++;
  }
  return NULL;
}

const char *npy_read_header(FILE *file, npy_header *header) {
  unsigned char prefix[PREFIX];
  char words[LONGEST + 1];
  if (fread(prefix, 1, PREFIX, file) != PREFIX || memcmp(prefix, MAGIC, MAGIC_SIZE) != 0)
    return "is no .npy file";
  size_t length = prefix[8] | (size_t)prefix[9] << 8;
  if (prefix[6] != 1 || length > LONGEST) return "is a .npy file of another version";
  if (fread(words, 1, length, file) != length) return "ends too early";
  words[length] = 0;
  const char *order = value_of(words, "'fortran_order'");
  if (!order || strncmp(order, "False", 5) != 0) return "is not in C order";
  const char *wrong = read_type(words, header);
  return wrong ? wrong : read_shape(words, header);
}

const char *npy_write(const char *path, const npy_header *header, const void *values) {
  char head[LONGEST];
  char letter = 0;
  for (size_t kind = 0; kind < KINDS; kind++)
    if (kinds[kind].code == header->code) letter = kinds[kind].letter;
  if (!letter || header->rank > NPY_MOST_RANK) return "holds what .npy files cannot";
  int bytes = header->bits / 8;
  int used = PREFIX + sprintf(head + PREFIX, "{'descr': '%c%c%d', 'fortran_order': False, "
                              "'shape': (", bytes > 1 ? '<' : '|', letter, bytes);
  for (int axis = 0; axis < header->rank; axis++)
    used += sprintf(head + used, "%lld,", (long long)header->shape[axis]);
  used += sprintf(head + used, "), }");
  while ((used + 1) % ALIGNMENT) head[used++] = ' ';
  head[used++] = '\n';
  memcpy(head, MAGIC "\x01\x00", 8);
  head[8] = (char)((used - PREFIX) & 0xff);
  head[9] = (char)((used - PREFIX) >> 8);
  FILE *file = fopen(path, "wb");
  if (!file) return strerror(errno);
  size_t size = npy_size(header);
  int whole = fwrite(head, 1, (size_t)used, file) == (size_t)used &&
              fwrite(values, 1, size, file) == size;
  return fclose(file) == 0 && whole ? NULL : "could not be written";
}
