/* Time one function that TVM compiled: a candidate of tuning, on the board itself.
 *
 *   tvm-bench [-l LIBRARIES] [-t THREADS] [-r REPEATS] [-m MIN_MS] [-s LIMIT_S]
 *             LIBRARY.so FUNCTION TENSOR...
 *
 * TENSOR is what the function takes, its outputs among it, such as float32:1,32,56,56. Prints
 * {"run_s": [...]}, one mean a repeat, each of at least MIN_MS; or {"error"} and status 1. What
 * runs longer than LIMIT_S is ended by SIGALRM: a candidate may never come back.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "npy.h"
#include "program.h"
#include "session.h"

typedef struct {
  const char *libraries;
  int threads, repeats, min_ms, limit_s;
} options;

static const char *usage =
    "tvm-bench [-l LIBRARIES] [-t THREADS] [-r REPEATS] [-m MIN_MS] [-s LIMIT_S] LIBRARY.so "
    "FUNCTION TENSOR...";

/* Read dtype and shape. Returns 0 for what is none. */
static int parse(const char *words, npy_header *header) {
  static const struct {
    const char *name;
    int code;
  } kinds[] = {{"float", kDLFloat}, {"uint", kDLUInt}, {"int", kDLInt}, {"bool", kDLBool}};
  size_t kind = 0, known = sizeof kinds / sizeof *kinds;
  while (kind < known && strncmp(words, kinds[kind].name, strlen(kinds[kind].name)) != 0) kind++;
  if (kind == known) return 0;
  char *at;
  header->code = kinds[kind].code;
  header->bits = (int)strtol(words + strlen(kinds[kind].name), &at, 10);
  if (header->code == kDLBool) header->bits = 8;
  if (header->bits < 8 || *at != ':') return 0;
  for (header->rank = 0; *at && at[1]; header->rank++) {
    if (header->rank == NPY_MOST_RANK) return 0;
    header->shape[header->rank] = strtoll(at + 1, &at, 10);
    if (header->shape[header->rank] < 1 || (*at && *at != ',')) return 0;
  }
  return 1;
}

/* Numbers from 1 to 2: no zeros, no denormals, whose arithmetic takes other times. */
static void fill(void *memory, const npy_header *header) {
  size_t size = npy_size(header);
  if (header->code == kDLFloat && header->bits == 32) {
    float *values = memory;
    for (uint32_t index = 0; index < size / sizeof *values; index++)
      values[index] = 1.0f + (float)(index * 2654435761u % 1000u) / 1000.0f;
  } else if (header->code == kDLFloat && header->bits == 16) {
    uint16_t *values = memory; /* 0x3c00 is one; the lower ten bits make it less than two */
    for (uint32_t index = 0; index < size / sizeof *values; index++)
      values[index] = (uint16_t)(0x3c00u | (index * 2654435761u >> 22));
  } else {
    memset(memory, 1, size);
  }
}

static void run(tvm_session *session) {
  if (tvm_session_run(session) != 0) end_with(tvm_session_error(), "");
}

static double seconds(tvm_session *session, int64_t runs) {
  int64_t before = now_ns();
  for (int64_t index = 0; index < runs; index++) run(session);
  return (double)(now_ns() - before) / 1e9 / (double)runs;
}

static void time_function(tvm_session *session, const options *chosen) {
  run(session); /* pages and caches */
  double once = seconds(session, 1);
  /* A clock's tick at least: nothing is faster, and nothing is divided by zero. */
  int64_t runs = (int64_t)(chosen->min_ms / 1e3 / (once > 1e-7 ? once : 1e-7)) + 1;
  double *samples = calloc((size_t)chosen->repeats, sizeof *samples);
  if (!samples) end_with("out of memory", "");
  for (int repeat = 0; repeat < chosen->repeats; repeat++)
    samples[repeat] = seconds(session, runs);
  printf("{\"run_s\": [");
  for (int repeat = 0; repeat < chosen->repeats; repeat++)
    printf("%s%.9g", repeat ? ", " : "", samples[repeat]);
  printf("]}\n");
  free(samples);
}

int main(int count, char **words) {
  options chosen = {".", 1, 3, 20, 60};
  print_lines();
  for (int option; (option = getopt(count, words, "l:t:r:m:s:")) != -1;) {
    switch (option) {
      case 'l': chosen.libraries = optarg; break;
      case 't': chosen.threads = number_of(optarg); break;
      case 'r': chosen.repeats = number_of(optarg); break;
      case 'm': chosen.min_ms = number_of(optarg); break;
      case 's': chosen.limit_s = number_of(optarg); break;
      default: end_with("usage", usage);
    }
  }
  if (optind + 3 > count || chosen.repeats < 1 || chosen.min_ms < 0 || chosen.limit_s < 0 ||
      chosen.threads < 1 || chosen.threads > MOST_THREADS)
    end_with("usage", usage);
  alarm((unsigned)chosen.limit_s);
  if (tvm_session_open(chosen.libraries, chosen.threads) != 0) end_with(tvm_session_error(), "");
  tvm_session *session = tvm_session_load(words[optind], words[optind + 1]);
  if (!session) end_with(tvm_session_error(), "");
  for (int index = optind + 2; index < count; index++) {
    npy_header header;
    if (!parse(words[index], &header)) end_with(words[index], "is no tensor");
    void *memory =
        tvm_session_argument(session, header.code, header.bits, header.rank, header.shape);
    if (!memory) end_with(words[index], tvm_session_error());
    fill(memory, &header);
  }
  time_function(session, &chosen);
  tvm_session_free(session);
  return all_printed() ? 0 : 1;
}
