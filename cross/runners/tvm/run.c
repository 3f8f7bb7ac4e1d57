/* Run a model that TVM compiled, on a board that has no Python.
 *
 *   tvm-run [-l LIBRARIES] [-t THREADS] [-w WARMUP] [-n RUNS] [-o FOLDER] MODEL.so INPUT.npy...
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

#include "npy.h"
#include "program.h"
#include "session.h"

typedef struct {
  const char *libraries, *outputs;
  int threads, warmup, runs;
} options;

static const char *usage =
    "tvm-run [-l LIBRARIES] [-t THREADS] [-w WARMUP] [-n RUNS] [-o FOLDER] MODEL.so INPUT.npy...";

static void take_input(tvm_session *session, const char *path) {
  npy_header header;
  FILE *file = fopen(path, "rb");
  if (!file) end_with(path, strerror(errno));
  const char *wrong = npy_read_header(file, &header);
  if (wrong) end_with(path, wrong);
  void *memory =
      tvm_session_argument(session, header.code, header.bits, header.rank, header.shape);
  if (!memory) end_with(path, tvm_session_error());
  if (fread(memory, 1, npy_size(&header), file) != npy_size(&header))
    end_with(path, "ends too early");
  fclose(file);
}

static void run(tvm_session *session) {
  if (tvm_session_run(session) != 0) end_with(tvm_session_error(), "");
}

static void leave_outputs(tvm_session *session, const char *folder) {
  run(session);
  for (int index = 0; index < tvm_session_outputs(session); index++) {
    char path[4096];
    snprintf(path, sizeof path, "%s/out-%d.npy", folder, index);
    const char *wrong = npy_write(path, tvm_session_output(session, index));
    if (wrong) end_with(path, wrong);
    printf("{\"output\": %d, \"path\": ", index);
    print_json_string(path);
    printf("}\n");
  }
}

static void time_runs(tvm_session *session, const options *chosen) {
  int64_t *samples = calloc((size_t)chosen->runs + 1, sizeof *samples);
  if (!samples) end_with("out of memory", "");
  for (int index = 0; index < chosen->warmup; index++) run(session);
  for (int index = 0; index < chosen->runs; index++) {
    int64_t before = now_ns();
    run(session);
    samples[index] = now_ns() - before;
  }
  printf("{\"model_ns\": [");
  for (int index = 0; index < chosen->runs; index++)
    printf("%s%lld", index ? ", " : "", (long long)samples[index]);
  printf("]}\n");
  free(samples);
}

int main(int count, char **words) {
  options chosen = {".", NULL, 1, 1, 10};
  for (int option; (option = getopt(count, words, "l:o:t:w:n:")) != -1;) {
    switch (option) {
      case 'l': chosen.libraries = optarg; break;
      case 'o': chosen.outputs = optarg; break;
      case 't': chosen.threads = atoi(optarg); break;
      case 'w': chosen.warmup = atoi(optarg); break;
      case 'n': chosen.runs = atoi(optarg); break;
      default: end_with("usage", usage);
    }
  }
  if (optind + 2 > count || chosen.threads < 1 || chosen.runs < 0 || chosen.warmup < 0)
    end_with("usage", usage);
  int64_t started = now_ns();
  if (tvm_session_open(chosen.libraries, chosen.threads) != 0) end_with(tvm_session_error(), "");
  tvm_session *session = tvm_session_load(words[optind], NULL);
  if (!session) end_with(tvm_session_error(), "");
  printf("{\"load_ns\": %lld}\n", (long long)(now_ns() - started));
  for (int index = optind + 1; index < count; index++) take_input(session, words[index]);
  if (chosen.outputs) leave_outputs(session, chosen.outputs);
  time_runs(session, &chosen);
  tvm_session_free(session);
  return 0;
}
