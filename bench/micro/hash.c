/* A hash table with open addressing: words are counted by key; the table is larger than a processor's first cache. */
#include <stdlib.h>
#include "micro.h"

enum { SLOTS = 1 << 17, KEYS = 60000, ROUNDS = 14000000 };

struct slot {
  uint64_t key;
  uint64_t count;
};

/* FNV-1a over the bytes of the key. */
static uint64_t digest(uint64_t key) {
  uint64_t h = 0xcbf29ce484222325;
  for (int i = 0; i < 8; i++, key >>= 8) h = (h ^ (key & 0xff)) * 0x100000001b3;
  return h;
}

uint64_t hash(void) {
  struct slot *slots = calloc(SLOTS, sizeof *slots);
  uint64_t state = 1, sum = 0;
  for (int i = 0; i < ROUNDS; i++) {
    uint64_t key = random64(&state) % KEYS + 1;
    uint64_t at = digest(key) >> 20 & (SLOTS - 1);
    while (slots[at].key != 0 && slots[at].key != key) at = (at + 1) & (SLOTS - 1);
    slots[at].key = key;
    sum += ++slots[at].count * at;
  }
  free(slots);
  return sum;
}
