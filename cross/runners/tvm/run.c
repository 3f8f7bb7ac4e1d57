/* TVM as the frame knows an engine: tvm-run, of a model that TVM compiled. */
#include "engine.h"
#include "program.h"
#include "session.h"

#include <stddef.h>

#ifdef MODEL_LINKED
const char *const engine_usage =
    "run-model [-t THREADS] [-w WARMUP] [-n RUNS] [-o FOLDER] INPUT.npy...";
const char *const engine_letters = "o:t:w:n:";
#else
const char *const engine_usage =
    "tvm-run [-l LIBRARIES] [-t THREADS] [-w WARMUP] [-n RUNS] [-o FOLDER] MODEL.so INPUT.npy...";
const char *const engine_letters = "l:o:t:w:n:";
#endif

static tvm_session *session;

void engine_load(const engine_options *options) {
  const char *libraries = options->libraries ? options->libraries : ".";
  if (tvm_session_open(libraries, options->threads) != 0) end_with(tvm_session_error(), "");
  session = tvm_session_load(options->model, NULL);
  if (!session) end_with(tvm_session_error(), "");
}

void engine_tell(void) {}

void *engine_input(const npy_header *header, const char *path) {
  void *memory =
      tvm_session_argument(session, header->code, header->bits, header->rank, header->shape);
  if (!memory) end_with(path, tvm_session_error());
  return memory;
}

void engine_run(void) {
  if (tvm_session_run(session) != 0) end_with(tvm_session_error(), "");
}

int engine_outputs(void) { return tvm_session_outputs(session); }

const void *engine_output(int index, npy_header *header) {
  const DLTensor *tensor = tvm_session_output(session, index);
  if (tensor->ndim > NPY_MOST_RANK) end_with("an output", "has too many axes");
  *header = (npy_header){tensor->dtype.code, tensor->dtype.bits, tensor->ndim, {0}};
  for (int axis = 0; axis < tensor->ndim; axis++) header->shape[axis] = tensor->shape[axis];
  return (const char *)tensor->data + tensor->byte_offset;
}

void engine_free(void) { tvm_session_free(session); }
