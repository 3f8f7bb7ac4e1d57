#define _GNU_SOURCE
#include "session.h"

#ifndef TVM_SESSION_LINKED
#include <dlfcn.h>
#endif
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <tvm/ffi/c_api.h>

#define MOST_ARGUMENTS 64
#define MOST_RANK 8
#define BITS_PER_BYTE 8

static char error[2048];

static struct {
  int (*drop)(TVMFFIObjectHandle);
  int (*find)(const TVMFFIByteArray *, TVMFFIObjectHandle *);
  int (*call)(TVMFFIObjectHandle, TVMFFIAny *, int32_t, TVMFFIAny *);
  void (*take_error)(TVMFFIObjectHandle *);
  int (*tensor)(DLManagedTensor *, int32_t, int32_t, TVMFFIObjectHandle *);
  TVMFFIObjectHandle load, function, size, item;
} tvm;

struct tvm_session {
  TVMFFIAny entry;
  TVMFFIAny arguments[MOST_ARGUMENTS];
  TVMFFIAny answer;
  TVMFFIAny *outputs; /* of an answer that is an array */
  int argument_count, output_count;
};

int tvm_session_version(void) { return TVM_SESSION_VERSION; }

const char *tvm_session_error(void) { return error; }

static int fail(const char *what, const char *why) {
  snprintf(error, sizeof error, "%s: %s", what, why);
  for (char *at = error; *at; at++)
    if (*at == '\n') *at = ' ';
  return -1;
}

/* Keep what TVM says went wrong. */
static int refused(const char *what) {
  TVMFFIObjectHandle raised = NULL;
  tvm.take_error(&raised);
  if (!raised) return fail(what, "TVM does not say why");
  const TVMFFIErrorCell *cell = (const TVMFFIErrorCell *)((const TVMFFIObject *)raised + 1);
  char words[1024];
  size_t size = cell->message.size < sizeof words - 1 ? cell->message.size : sizeof words - 1;
  memcpy(words, cell->message.data, size);
  words[size] = 0;
  tvm.drop(raised);
  return fail(what, words);
}

static void drop(TVMFFIAny *value) {
  if (value->type_index >= kTVMFFIStaticObjectBegin) tvm.drop(value->v_obj);
  memset(value, 0, sizeof *value);
}

static TVMFFIAny text(const char *words) {
  TVMFFIAny value = {.type_index = kTVMFFIRawStr};
  value.v_c_str = words;
  return value;
}

static TVMFFIAny whole(int64_t number) {
  TVMFFIAny value = {.type_index = kTVMFFIInt};
  value.v_int64 = number;
  return value;
}

static TVMFFIAny logical(int yes) {
  TVMFFIAny value = {.type_index = kTVMFFIBool};
  value.v_int64 = yes;
  return value;
}

#ifdef TVM_SESSION_LINKED

#include <tvm/ffi/extra/c_env_api.h>

/* The model is in this program, as TVM is: there is no file to load. */
#define LOAD "ffi.SystemLib"

static int take_up(const char *folder) {
  (void)folder;
  tvm.drop = TVMFFIObjectDecRef;
  tvm.find = TVMFFIFunctionGetGlobal;
  tvm.call = TVMFFIFunctionCall;
  tvm.take_error = TVMFFIErrorMoveFromRaised;
  tvm.tensor = TVMFFITensorFromDLPack;
  for (const tvm_linked_symbol *at = tvm_linked_symbols; at->name; at++)
    if (at->address) TVMFFIEnvModRegisterSystemLibSymbol(at->name, at->address);
  return 0;
}

#else

#define LOAD "ffi.ModuleLoadFromFile"

static void *library(const char *folder, const char *inner, const char *name) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/%s/%s", folder, inner, name);
  /* Global: what TVM compiled finds its functions among those of the process. */
  void *handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
  if (!handle) {
    char why[1024];
    snprintf(why, sizeof why, "%s", dlerror());
    snprintf(path, sizeof path, "%s/%s", folder, name);
    handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!handle) fail("TVM's libraries cannot be loaded", why);
  }
  return handle;
}

static int take_up(const char *folder) {
  void *ffi = library(folder, "tvm_ffi/lib", "libtvm_ffi.so");
  if (!ffi || !library(folder, "tvm/lib", "libtvm_runtime.so")) return -1;
  *(void **)&tvm.drop = dlsym(ffi, "TVMFFIObjectDecRef");
  *(void **)&tvm.find = dlsym(ffi, "TVMFFIFunctionGetGlobal");
  *(void **)&tvm.call = dlsym(ffi, "TVMFFIFunctionCall");
  *(void **)&tvm.take_error = dlsym(ffi, "TVMFFIErrorMoveFromRaised");
  *(void **)&tvm.tensor = dlsym(ffi, "TVMFFITensorFromDLPack");
  if (!tvm.drop || !tvm.find || !tvm.call || !tvm.take_error || !tvm.tensor)
    return fail("libtvm_ffi.so is of another version", "a function is missing");
  return 0;
}

#endif

static int global(const char *name, TVMFFIObjectHandle *function) {
  TVMFFIByteArray key = {name, strlen(name)};
  if (tvm.find(&key, function) != 0) return refused(name);
  return *function ? 0 : fail(name, "this version of TVM has no such function");
}

int tvm_session_open(const char *folder, int threads) {
  char number[16];
  if (tvm.item) return 0;
  snprintf(number, sizeof number, "%d", threads);
  setenv("TVM_NUM_THREADS", number, 1);
  /* Where its threads run is for the system and whoever started us to say. */
  setenv("TVM_BIND_THREADS", "0", 0);
  if (take_up(folder) != 0) return -1;
  if (global(LOAD, &tvm.load) != 0) return -1;
  if (global("ffi.ModuleGetFunction", &tvm.function) != 0) return -1;
  if (global("ffi.ArraySize", &tvm.size) != 0) return -1;
  return global("ffi.ArrayGetItem", &tvm.item);
}

static int function_of(TVMFFIAny module, const char *name, TVMFFIAny *found) {
  TVMFFIAny arguments[] = {module, text(name), logical(1)};
  if (tvm.call(tvm.function, arguments, 3, found) != 0) return refused(name);
  return found->type_index == kTVMFFIFunction ? 0 : fail(name, "the library has no such function");
}

/* Call a method that takes whole numbers. */
static int method(TVMFFIAny module, const char *name, TVMFFIAny *arguments, int count,
                  TVMFFIAny *answer) {
  TVMFFIAny found = {0};
  if (function_of(module, name, &found) != 0) return -1;
  int status = tvm.call(found.v_obj, arguments, count, answer) ? refused(name) : 0;
  drop(&found);
  return status;
}

/* Make the model's own machine out of a library, and take its entry. */
static int model_entry(TVMFFIAny module, TVMFFIAny *entry) {
  enum { POOLED = 2 }; /* AllocatorType::kPooled */
  TVMFFIAny machine = {0}, nothing = {0};
  TVMFFIAny device[] = {whole(kDLCPU), whole(0), whole(POOLED)};
  int status = method(module, "vm_load_executable", NULL, 0, &machine);
  if (status == 0) status = method(machine, "vm_initialization", device, 3, &nothing);
  if (status == 0) status = function_of(machine, "main", entry);
  drop(&nothing);
  drop(&machine);
  return status;
}

tvm_session *tvm_session_load(const char *library, const char *function) {
#ifdef TVM_SESSION_LINKED
  TVMFFIAny path = text(""), module = {0}; /* a prefix of symbols, of which there is none */
#else
  char whole_path[PATH_MAX];
  /* A bare name would be looked for among the system's libraries. */
  TVMFFIAny path = text(realpath(library, whole_path) ? whole_path : library), module = {0};
#endif
  if (!tvm.item) {
    fail(library, "TVM's libraries were not taken up before");
    return NULL;
  }
  if (tvm.call(tvm.load, &path, 1, &module) != 0) {
    refused(library);
    return NULL;
  }
  tvm_session *session = calloc(1, sizeof *session);
  int status = !session   ? fail(library, "out of memory")
               : function ? function_of(module, function, &session->entry)
                          : model_entry(module, &session->entry);
  drop(&module);
  if (status == 0) return session;
  tvm_session_free(session);
  return NULL;
}

static void release(DLManagedTensor *tensor) {
  free(tensor->dl_tensor.data);
  free(tensor->dl_tensor.shape);
  free(tensor);
}

static DLManagedTensor *managed(int code, int bits, int rank, const int64_t *shape) {
  size_t size = (size_t)bits / BITS_PER_BYTE;
  DLManagedTensor *tensor = calloc(1, sizeof *tensor);
  if (!tensor) return NULL;
  DLTensor *inner = &tensor->dl_tensor;
  inner->shape = calloc((size_t)rank + 1, sizeof *shape);
  for (int axis = 0; inner->shape && axis < rank; axis++) {
    inner->shape[axis] = shape[axis];
    size *= (size_t)shape[axis];
  }
  size = (size / TVM_ALIGNMENT + 1) * TVM_ALIGNMENT;
  if (!inner->shape || posix_memalign(&inner->data, TVM_ALIGNMENT, size) != 0) {
    inner->data = NULL;
    release(tensor);
    return NULL;
  }
  memset(inner->data, 0, size);
  inner->device = (DLDevice){kDLCPU, 0};
  inner->ndim = rank;
  inner->dtype = (DLDataType){(uint8_t)code, (uint8_t)bits, 1};
  tensor->deleter = release;
  return tensor;
}

void *tvm_session_argument(tvm_session *session, int code, int bits, int rank,
                           const int64_t *shape) {
  if (session->argument_count == MOST_ARGUMENTS || rank < 0 || rank > MOST_RANK) {
    fail("an argument", "too many of them, or too many axes");
    return NULL;
  }
  DLManagedTensor *made = managed(code, bits, rank, shape);
  if (!made) {
    fail("an argument", "out of memory");
    return NULL;
  }
  TVMFFIObjectHandle object = NULL;
  if (tvm.tensor(made, TVM_ALIGNMENT, 1, &object) != 0) {
    release(made);
    refused("an argument");
    return NULL;
  }
  TVMFFIAny *argument = &session->arguments[session->argument_count++];
  argument->type_index = kTVMFFITensor;
  argument->v_obj = object;
  return made->dl_tensor.data;
}

static void forget(tvm_session *session) {
  for (int index = 0; index < session->output_count; index++) drop(&session->outputs[index]);
  free(session->outputs);
  session->outputs = NULL;
  session->output_count = 0;
  drop(&session->answer);
}

static int take_array(tvm_session *session) {
  TVMFFIAny size = {0};
  if (tvm.call(tvm.size, &session->answer, 1, &size) != 0) return refused("the outputs");
  session->outputs = calloc((size_t)size.v_int64 + 1, sizeof *session->outputs);
  if (!session->outputs) return fail("the outputs", "out of memory");
  for (int index = 0; index < size.v_int64; index++) {
    TVMFFIAny arguments[] = {session->answer, whole(index)};
    if (tvm.call(tvm.item, arguments, 2, &session->outputs[index]) != 0)
      return refused("the outputs");
    session->output_count++;
    if (session->outputs[index].type_index != kTVMFFITensor)
      return fail("the outputs", "one of them is no tensor");
  }
  return 0;
}

int tvm_session_run(tvm_session *session) {
  forget(session);
  if (tvm.call(session->entry.v_obj, session->arguments, session->argument_count,
               &session->answer) != 0)
    return refused("the inference");
  return session->answer.type_index == kTVMFFIArray ? take_array(session) : 0;
}

int tvm_session_run_marked(tvm_session *session) {
  prctl(TVM_SESSION_MARK, 0, 0, 0, 0);
  int status = tvm_session_run(session);
  prctl(TVM_SESSION_MARK, 0, 0, 0, 0);
  return status;
}

int tvm_session_outputs(const tvm_session *session) {
  return session->answer.type_index == kTVMFFITensor ? 1 : session->output_count;
}

const DLTensor *tvm_session_output(const tvm_session *session, int index) {
  if (index < 0 || index >= tvm_session_outputs(session)) return NULL;
  const TVMFFIAny *value = session->outputs ? &session->outputs[index] : &session->answer;
  /* A tensor object is the header, then DLTensor. */
  return (const DLTensor *)(value->v_obj + 1);
}

void tvm_session_free(tvm_session *session) {
  if (!session) return;
  forget(session);
  for (int index = 0; index < session->argument_count; index++) drop(&session->arguments[index]);
  drop(&session->entry);
  free(session);
}
