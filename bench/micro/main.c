/* micro NAME: runs a program and writes its checksum as `@=CHECKSUM`, which the bench compares between machines. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "micro.h"

/* What `processes` starts. */
static uint64_t nothing(void) { return 0; }

static const struct {
  const char *name;
  uint64_t (*run)(void);
} programs[] = {
  {"integer", integer}, {"hash", hash},   {"pointer-chase", pointer_chase}, {"n-body", n_body},
  {"matmul", matmul},   {"bytecode", bytecode}, {"qsort", sort},             {"memcpy", copy},
  {"sha256", sha256},   {"system-call", system_call}, {"pipes", pipes},     {"processes", processes},
  {"nothing", nothing},
};

int main(int count, char **words) {
  for (unsigned i = 0; count == 2 && i < sizeof programs / sizeof *programs; i++) {
    if (strcmp(words[1], programs[i].name) != 0) continue;
    uint64_t checksum = programs[i].run();
    if (programs[i].run != nothing) printf("@=%016" PRIx64 "\n", checksum);
    return 0;
  }
  fprintf(stderr, "micro: no such program\n");
  return 2;
}
