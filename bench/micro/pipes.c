/* A byte goes to and fro between two processes. */
#include <sys/wait.h>
#include <unistd.h>
#include "micro.h"

enum { ROUNDS = 8000 };

uint64_t pipes(void) {
  int there[2], back[2];
  if (pipe(there) != 0 || pipe(back) != 0) return 0;
  if (fork() == 0) {
    char byte;
    close(there[1]);
    while (read(there[0], &byte, 1) == 1) {
      byte++;
      if (write(back[1], &byte, 1) != 1) break;
    }
    _exit(0);
  }
  uint64_t count = 0;
  char byte = 0;
  for (int i = 0; i < ROUNDS; i++) {
    char sent = i;
    if (write(there[1], &sent, 1) != 1 || read(back[0], &byte, 1) != 1) break;
    count += byte == (char)(sent + 1);
  }
  close(there[1]);
  wait(NULL);
  return count;
}
