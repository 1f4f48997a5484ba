/* One load after the other, each from where the one before says, in a random circle of 1 MB. */
#include <stdlib.h>
#include "micro.h"

enum { NODES = 1 << 17, STEPS = 60000000 };

struct node {
  struct node *next;
};

uint64_t pointer_chase(void) {
  struct node *nodes = malloc(NODES * sizeof *nodes);
  uint32_t *order = malloc(NODES * sizeof *order);
  uint64_t state = 2;
  for (uint32_t i = 0; i < NODES; i++) order[i] = i;
  for (uint32_t i = NODES - 1; i > 0; i--) {
    uint32_t j = random64(&state) % (i + 1), other = order[j];
    order[j] = order[i];
    order[i] = other;
  }
  for (uint32_t i = 0; i < NODES; i++) nodes[order[i]].next = &nodes[order[(i + 1) % NODES]];
  struct node *at = nodes;
  uint64_t sum = 0;
  for (int i = 0; i < STEPS; i++) {
    at = at->next;
    if ((i & 0xfff) == 0) sum = sum * 31 + (at - nodes);
  }
  free(order);
  free(nodes);
  return sum;
}
