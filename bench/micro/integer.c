/* Arithmetic of 64 and 32 bits in registers: xorshift, multiplication, a division now and then, branches. */
#include "micro.h"

uint64_t integer(void) {
  uint64_t x = 88172645463325252, sum = 0;
  uint32_t y = 2463534242;
  for (uint32_t i = 1; i < 120000000; i++) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    y = y * 1664525 + 1013904223;
    if (x & 4) sum += x ^ y;
    else sum -= y >> 3;
    if ((i & 15) == 0) sum += x / (y | 1);
  }
  return sum;
}
