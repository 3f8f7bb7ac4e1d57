/* Run a model on a board that has no Python: the program, around any engine (engine.h).
 *
 *   PROGRAM [-l LIBRARIES] [-t THREADS] [-w WARMUP] [-n RUNS] [-o FOLDER] MODEL INPUT.npy...
 *
 * Compiled with MODEL_LINKED it holds its model, and takes inputs alone.
 *
 * One JSON object a line: {"load_ns"}, then, with -o, {"output", "path"} for each output, then
 * {"model_ns": [...]}, each run by itself; or {"error"} and status 1.
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"
#include "npy.h"
#include "program.h"

#ifdef MODEL_LINKED
#define MODELS 0
#else
#define MODELS 1
#endif

static void take_input(const char *path) {
  npy_header header;
  FILE *file = fopen(path, "rb");
  if (!file) end_with(path, strerror(errno));
  const char *wrong = npy_read_header(file, &header);
  if (wrong) end_with(path, wrong);
  void *memory = engine_input(&header, path);
  if (fread(memory, 1, npy_size(&header), file) != npy_size(&header))
    end_with(path, "ends too early");
  fclose(file);
}

static void leave_outputs(const char *folder) {
  engine_run();
  for (int index = 0; index < engine_outputs(); index++) {
    char path[4096];
    npy_header header;
    const void *values = engine_output(index, &header);
    snprintf(path, sizeof path, "%s/out-%d.npy", folder, index);
    const char *wrong = npy_write(path, &header, values);
    if (wrong) end_with(path, wrong);
    printf("{\"output\": %d, \"path\": ", index);
    print_json_string(path);
    printf("}\n");
  }
}

static void time_runs(int warmup, int runs) {
  int64_t *samples = calloc((size_t)runs + 1, sizeof *samples);
  if (!samples) end_with("out of memory", "");
  for (int index = 0; index < warmup; index++) engine_run();
  for (int index = 0; index < runs; index++) {
    int64_t before = now_ns();
    engine_run();
    samples[index] = now_ns() - before;
  }
  printf("{\"model_ns\": [");
  for (int index = 0; index < runs; index++)
    printf("%s%lld", index ? ", " : "", (long long)samples[index]);
  printf("]}\n");
  free(samples);
}

int main(int count, char **words) {
  engine_options chosen = {.threads = 1};
  const char *outputs = NULL;
  int warmup = 1, runs = 10;
  print_lines();
  for (int option; (option = getopt(count, words, engine_letters)) != -1;) {
    switch (option) {
      case 'l': chosen.libraries = optarg; break;
      case 'o': outputs = optarg; break;
      case 'p': chosen.precision = optarg; break;
      case 't': chosen.threads = number_of(optarg); break;
      case 'w': warmup = number_of(optarg); break;
      case 'n': runs = number_of(optarg); break;
      default: end_with("usage", engine_usage);
    }
  }
  if (optind + MODELS >= count || runs < 0 || warmup < 0 || chosen.threads < 1 ||
      chosen.threads > MOST_THREADS)
    end_with("usage", engine_usage);
  chosen.model = MODELS ? words[optind] : "the model";
  int64_t started = now_ns();
  engine_load(&chosen);
  printf("{\"load_ns\": %lld", (long long)(now_ns() - started));
  engine_tell();
  printf("}\n");
  for (int index = optind + MODELS; index < count; index++) take_input(words[index]);
  if (outputs) leave_outputs(outputs);
  time_runs(warmup, runs);
  engine_free();
  return all_printed() ? 0 : 1;
}
