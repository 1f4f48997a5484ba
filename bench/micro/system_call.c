/* The shortest system call, which the C library does not answer by itself. */
#include <sys/syscall.h>
#include <unistd.h>
#include "micro.h"

enum { CALLS = 1000000 };

uint64_t system_call(void) {
  long parent = syscall(SYS_getppid);
  uint64_t count = 0;
  for (int i = 0; i < CALLS; i++) count += syscall(SYS_getppid) == parent;
  return count;
}
