/* fork, exec of this program itself, and wait. */
#include <sys/wait.h>
#include <unistd.h>
#include "micro.h"

enum { PROCESSES = 200 };

uint64_t processes(void) {
  uint64_t count = 0;
  for (int i = 0; i < PROCESSES; i++) {
    pid_t child = fork();
    if (child == 0) {
      execl("/proc/self/exe", "micro", "nothing", (char *)NULL);
      _exit(1);
    }
    int status = -1;
    if (child > 0 && waitpid(child, &status, 0) == child) count += status == 0;
  }
  return count;
}
