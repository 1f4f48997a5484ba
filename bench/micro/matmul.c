/* Products of matrices of doubles, 160 by 160, the plain three loops. */
#include <string.h>
#include "micro.h"

enum { SIZE = 160, ROUNDS = 16 };

static double a[SIZE][SIZE], b[SIZE][SIZE], c[SIZE][SIZE];

static void multiply(void) {
  for (int i = 0; i < SIZE; i++)
    for (int j = 0; j < SIZE; j++) {
      double sum = 0;
      for (int k = 0; k < SIZE; k++) sum += a[i][k] * b[k][j];
      c[i][j] = sum;
    }
}

uint64_t matmul(void) {
  uint64_t state = 3, bits, sum = 0;
  for (int i = 0; i < SIZE; i++)
    for (int j = 0; j < SIZE; j++) {
      a[i][j] = (double)(random64(&state) >> 40) / 16777216 - 0.5;
      b[i][j] = (double)(random64(&state) >> 40) / 16777216 - 0.5;
    }
  for (int round = 0; round < ROUNDS; round++) {
    multiply();
    memcpy(&bits, &c[round][round], sizeof bits);
    sum = sum * 31 + bits;
    memcpy(a, c, sizeof a);
    // The numbers stay of one size.
    for (int i = 0; i < SIZE; i++)
      for (int j = 0; j < SIZE; j++) a[i][j] *= 0.25;
  }
  return sum;
}
