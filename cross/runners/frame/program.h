/* What the programs for boards without Python have in common. */
#ifndef EDGEKIT_PROGRAM_H
#define EDGEKIT_PROGRAM_H

#include <stdint.h>

#define MOST_THREADS 256 /* as edgekit --threads: far more only wait for each other */

/* Begin to print lines, each of which is out as soon as it is whole. */
void print_lines(void);

/* Tell whether all that was printed is out: a disk may be full. */
int all_printed(void);

/* Read a whole number of 0 or more; -1 for anything else. */
int number_of(const char *words);

/* Nanoseconds of a clock that never goes back. */
int64_t now_ns(void);

/* End the program with {"error": "..."} on standard output and status 1. */
void end_with(const char *what, const char *why) __attribute__((noreturn));

/* Print words as a JSON string. */
void print_json_string(const char *words);

#endif
