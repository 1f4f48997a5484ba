/**
 * How many of 10,000 dispatches go to a handler, counted in Debian: docs/performance.md has the method. It decides where
 * a handler stands in the dispatch tree, and nothing else; handlers that are not here are cold.
 */
const shares = `
  lw 217
  bne 203
  beq 178
  lw.c 175
  addi.c 168
  jalr.c 167
  addi 158
  jal 154
  bne.c 149
  ld.c ld.c ld.c 143
  addiw 130
  beq.c 130
  sd.c sd.c sd.c 129
  andi 126
  sd 121
  sw 118
  ld 114
  and 111
  jal.c 111
  bgeu 110
  add.c 108
  ld.c 108
  addw 105
  slli 97
  bltu 96
  and slli srli 95
  add.c lhu bgeu 95
  addiw.c beq.c slli 95
  srli.c add.c add 95
  lbu bne 92
  sd.c 92
  sw.c 89
  slli.c 89
  addiw.c 88
  add 87
  lhu 87
  bge 87
  srli 85
  or 84
  srliw 83
`

/** The sum of all shares, those of cold handlers included. */
export const SHARES_TOTAL = 10_000

/** The shares of the hot handlers, by their names (handlers.ts). */
export const handlerShares: ReadonlyMap<string, number> = new Map(
  shares
    .trim()
    .split('\n')
    .map((line) => /^\s*(.*) (\d+)$/.exec(line)!)
    .map(([, name, share]) => [name!, Number(share)]),
)
