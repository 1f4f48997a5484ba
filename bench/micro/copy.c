/* The C library's memcpy: a megabyte at a time, then pieces of 16 to 271 bytes. */
#include <stdlib.h>
#include <string.h>
#include "micro.h"

enum { BYTES = 1 << 20, LARGE = 1200, SMALL = 6000000 };

uint64_t copy(void) {
  uint8_t *source = malloc(BYTES), *target = malloc(BYTES);
  uint64_t state = 5, sum = 0;
  for (int i = 0; i < BYTES; i++) source[i] = random64(&state);
  for (int i = 0; i < LARGE; i++) {
    memcpy(target, source, BYTES);
    source[i] = target[BYTES - 1 - i] + 1;
  }
  for (int i = 0; i < SMALL; i++) {
    uint32_t at = (uint32_t)i * 2654435761u;
    memcpy(target + (at & 0xfff), source + (at >> 20), 16 + (at >> 8 & 0xff));
  }
  for (int i = 0; i < BYTES; i++) sum = sum * 31 + target[i];
  free(source);
  free(target);
  return sum;
}
