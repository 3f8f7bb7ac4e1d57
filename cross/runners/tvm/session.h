/* What TVM compiled, loaded and run through TVM's C interface: no Python, no C++ library.
 *
 * The runner on the board calls this library (libsession.so) through ctypes; the programs beside
 * it, for boards without Python, are made of the same source. One thread at a time.
 */
#ifndef EDGEKIT_TVM_SESSION_H
#define EDGEKIT_TVM_SESSION_H

#include <dlpack/dlpack.h>
#include <stdint.h>

#define TVM_SESSION_VERSION 2
#define TVM_ALIGNMENT 64 /* kAllocAlignment: what compiled code takes for granted */
#define TVM_SESSION_MARK 0x65646b74 /* MARK of edgekit/board/plugin/instructions.c */

#define API __attribute__((visibility("default")))

typedef struct tvm_session tvm_session;

/* With TVM_SESSION_LINKED, TVM and one model are part of the program: what the model's code is
 * called, and where it is. The last has no name. */
typedef struct {
  const char *name;
  void *address;
} tvm_linked_symbol;
extern const tvm_linked_symbol tvm_linked_symbols[];

/* Counts up when what is declared here changes. */
API int tvm_session_version(void);

/* Say why the last call failed, in one line. */
API const char *tvm_session_error(void);

/* Take up TVM's libraries, once in a process, before anything is loaded.
 *
 * folder: holds tvm_ffi/lib/libtvm_ffi.so and tvm/lib/libtvm_runtime.so, as wheels do, or both
 *     libraries themselves.
 * threads: of TVM's own pool, the calling thread among them.
 * Returns 0, or -1.
 */
API int tvm_session_open(const char *folder, int threads);

/* Load a compiled model (function: NULL), or one function of a library. NULL where it fails. */
API tvm_session *tvm_session_load(const char *library, const char *function);

/* Add the next argument; return its memory, which stays its own until the session is freed.
 *
 * code, bits: as DLDataType has them. NULL where it fails.
 */
API void *tvm_session_argument(tvm_session *session, int code, int bits, int rank,
                               const int64_t *shape);

/* Call with all arguments. Returns 0, or -1. Outputs of the call before are gone. */
API int tvm_session_run(tvm_session *session);

/* The same between two marks, for an emulator that counts instructions; others ignore them.
 *
 * Nothing else lies between: the count is the same whatever the process did before.
 */
API int tvm_session_run_marked(tvm_session *session);

/* How many tensors the last call answered with. */
API int tvm_session_outputs(const tvm_session *session);

/* One of them, contiguous, valid until the next call; NULL where there is no such output. */
API const DLTensor *tvm_session_output(const tvm_session *session, int index);

API void tvm_session_free(tvm_session *session);

#endif
