/* Five bodies under gravity, in doubles, with divisions and square roots. */
#include <math.h>
#include <string.h>
#include "micro.h"

enum { BODIES = 5, STEPS = 600000 };

struct body {
  double x, y, z, vx, vy, vz, mass;
};

static struct body bodies[BODIES] = {
  {0, 0, 0, 0, 0, 0, 39.47},
  {4.84, -1.16, -0.10, 0.606, 2.811, -0.0252, 0.0377},
  {8.34, 4.12, -0.40, -1.010, 1.825, 0.00841, 0.0113},
  {12.89, -15.11, -0.22, 1.082, 0.868, -0.0108, 0.00172},
  {15.37, -25.91, 0.179, 0.979, 0.594, -0.0347, 0.00203},
};

static void attract(struct body *a, struct body *b, double dt) {
  double dx = a->x - b->x, dy = a->y - b->y, dz = a->z - b->z;
  double square = dx * dx + dy * dy + dz * dz;
  double force = dt / (square * sqrt(square));
  a->vx -= dx * b->mass * force;
  a->vy -= dy * b->mass * force;
  a->vz -= dz * b->mass * force;
  b->vx += dx * a->mass * force;
  b->vy += dy * a->mass * force;
  b->vz += dz * a->mass * force;
}

uint64_t n_body(void) {
  for (int step = 0; step < STEPS; step++) {
    for (int i = 0; i < BODIES; i++)
      for (int j = i + 1; j < BODIES; j++) attract(&bodies[i], &bodies[j], 0.001);
    for (int i = 0; i < BODIES; i++) {
      bodies[i].x += 0.001 * bodies[i].vx;
      bodies[i].y += 0.001 * bodies[i].vy;
      bodies[i].z += 0.001 * bodies[i].vz;
    }
  }
  uint64_t bits, sum = 0;
  for (int i = 0; i < BODIES; i++) {
    memcpy(&bits, &bodies[i].x, sizeof bits);
    sum = sum * 31 + bits;
  }
  return sum;
}
