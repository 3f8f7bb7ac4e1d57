/* What the programs for boards without Python have in common. */
#ifndef EDGEKIT_PROGRAM_H
#define EDGEKIT_PROGRAM_H

#include <stdint.h>

/* Nanoseconds of a clock that never goes back. */
int64_t now_ns(void);

/* End the program with {"error": "..."} on standard output and status 1. */
void end_with(const char *what, const char *why) __attribute__((noreturn));

/* Print words as a JSON string. */
void print_json_string(const char *words);

#endif
