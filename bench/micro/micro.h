/* Small programs, one file each, that are compiled for the guest and for the host from the same source. */
#include <stdint.h>

/* Each returns a checksum of what it has computed, the same wherever it runs. */
uint64_t integer(void);
uint64_t hash(void);
uint64_t pointer_chase(void);
uint64_t n_body(void);
uint64_t matmul(void);
uint64_t bytecode(void);
uint64_t sort(void);
uint64_t copy(void);
uint64_t sha256(void);

/* Those that ask the kernel return how often they have. */
uint64_t system_call(void);
uint64_t pipes(void);
uint64_t processes(void);

/* A random number; `state` goes on to the next. splitmix64. */
static inline uint64_t random64(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}
