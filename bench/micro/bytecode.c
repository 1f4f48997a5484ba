/*
 * An interpreter of bytecode, a switch in a loop with a stack, as Python's and Lua's are. Its program counts the primes
 * below a number by trial division.
 */
#include "micro.h"

enum op { PUSH, LOAD, STORE, ADD, MULTIPLY, REMAINDER, LESS, JUMP, JUMP_IF, JUMP_UNLESS, HALT };

/* Variables, the places of the program that it jumps to, and the number. */
enum { CANDIDATE, DIVISOR, COUNT, VARIABLES };
enum { CANDIDATES = 8, DIVISORS = 19, PRIME = 45, NEXT = 52, END = 61 };
enum { LIMIT = 100000, STACK = 16 };

static const int32_t code[] = {
  /* 0 */ PUSH, 0, STORE, COUNT, PUSH, 2, STORE, CANDIDATE,
  /* CANDIDATES */ LOAD, CANDIDATE, PUSH, LIMIT, LESS, JUMP_UNLESS, END, PUSH, 2, STORE, DIVISOR,
  /* DIVISORS */ LOAD, CANDIDATE, LOAD, DIVISOR, LOAD, DIVISOR, MULTIPLY, LESS, JUMP_IF, PRIME,
  /* 29 */ LOAD, CANDIDATE, LOAD, DIVISOR, REMAINDER, JUMP_UNLESS, NEXT,
  /* 36 */ LOAD, DIVISOR, PUSH, 1, ADD, STORE, DIVISOR, JUMP, DIVISORS,
  /* PRIME */ LOAD, COUNT, PUSH, 1, ADD, STORE, COUNT,
  /* NEXT */ LOAD, CANDIDATE, PUSH, 1, ADD, STORE, CANDIDATE, JUMP, CANDIDATES,
  /* END */ HALT,
};

static int64_t interpret(void) {
  int64_t stack[STACK], variables[VARIABLES], *top = stack;
  for (const int32_t *at = code;;) {
    switch (*at++) {
    case PUSH: *top++ = *at++; break;
    case LOAD: *top++ = variables[*at++]; break;
    case STORE: variables[*at++] = *--top; break;
    case ADD: top--; top[-1] += top[0]; break;
    case MULTIPLY: top--; top[-1] *= top[0]; break;
    case REMAINDER: top--; top[-1] %= top[0]; break;
    case LESS: top--; top[-1] = top[-1] < top[0]; break;
    case JUMP: at = code + *at; break;
    case JUMP_IF: at = *--top != 0 ? code + *at : at + 1; break;
    case JUMP_UNLESS: at = *--top == 0 ? code + *at : at + 1; break;
    case HALT: return variables[COUNT];
    }
  }
}

uint64_t bytecode(void) { return interpret(); }
