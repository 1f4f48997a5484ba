/* The C library's qsort, which calls a comparison for each two elements. */
#include <stdlib.h>
#include "micro.h"

enum { ELEMENTS = 500000, ROUNDS = 3 };

static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

uint64_t sort(void) {
  uint64_t *elements = malloc(ELEMENTS * sizeof *elements);
  uint64_t state = 4, sum = 0;
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < ELEMENTS; i++) elements[i] = random64(&state);
    qsort(elements, ELEMENTS, sizeof *elements, compare);
    for (int i = 0; i < ELEMENTS; i += 97) sum = sum * 31 + elements[i];
  }
  free(elements);
  return sum;
}
