/* What an engine is to the frame: run.c is the program, and the engine's own run.c is this.
 *
 * Whatever goes wrong ends the program (end_with).
 */
#ifndef EDGEKIT_ENGINE_H
#define EDGEKIT_ENGINE_H

#include "npy.h"

/* What the command line says to every engine. */
typedef struct {
  const char *libraries; /* where the engine's own are; NULL: the engine knows */
  const char *model;
  const char *precision; /* NULL: the engine's own */
  int threads;
} engine_options;

/* The whole command line, and its letters for getopt. */
extern const char *const engine_usage;
extern const char *const engine_letters;

/* Take up the libraries and the model. */
void engine_load(const engine_options *options);

/* Add the next input; return its memory, which stays its own. Ends for what the model cannot take.
 *
 * path: names it to the user.
 */
void *engine_input(const npy_header *header, const char *path);

/* Infer once with all inputs. */
void engine_run(void);

/* How many outputs the last run gave. */
int engine_outputs(void);

/* The values of one, contiguous until the next run; the header says what they are. */
const void *engine_output(int index, npy_header *header);

/* Print what more there is to say of what was loaded: JSON members, a comma before each. */
void engine_tell(void);

void engine_free(void);

#endif
