#define _POSIX_C_SOURCE 200809L
#include "program.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

void print_lines(void) { setvbuf(stdout, NULL, _IOLBF, BUFSIZ); }

int all_printed(void) { return fflush(stdout) == 0 && !ferror(stdout); }

int number_of(const char *words) {
  char *end;
  errno = 0;
  long number = strtol(words, &end, 10);
  return end == words || *end || errno || number < 0 || number > INT_MAX ? -1 : (int)number;
}

int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void print_json_string(const char *words) {
  putchar('"');
  for (; *words; words++) {
    unsigned char letter = (unsigned char)*words;
    if (letter == '"' || letter == '\\') printf("\\%c", letter);
    else if (letter < ' ') printf("\\u%04x", letter);
    else putchar(letter);
  }
  putchar('"');
}

void end_with(const char *what, const char *why) {
  char words[4096];
  snprintf(words, sizeof words, "%s%s%s", what, *why ? ": " : "", why);
  printf("{\"error\": ");
  print_json_string(words);
  printf("}\n");
  fflush(stdout);
  exit(1);
}
