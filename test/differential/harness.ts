/**
 * The part of a test program that is the same for all: it runs one block after the other, each in the state that its
 * execution's entry describes, and dumps the state that the block leaves into the trace.
 *
 * Two integer registers belong to the harness while a block runs, and no block writes them: `context` points to the
 * harness's variables, `scratch` is the trap handlers'. A block ends with an ecall at its exit address. Every other
 * trap is recorded, and the instruction skipped; a fault of the fetch ends the block, since there is nothing to skip.
 * The handler for S-mode ends a block by an ecall of its own, at `supervisorExit`.
 */
import { type Assembly, assemble } from '../../src/isa/assemble.ts'
import {
  DATA,
  DATA_PAGES,
  DUMPED,
  ENVIRONMENT,
  EXECUTION_BYTES,
  EXECUTIONS,
  HOT_BYTES,
  RAM,
  SLOT,
  SLOT_BYTES,
  TRACE,
  TRAP_BYTES,
  TRAPS_MAX,
  TRAPS_RECORDED,
  USER_ALIAS,
  VARIABLES,
} from './layout.ts'

/** Of hart 0, in the ACLINT of both boards. */
const MTIMECMP = 0x200_4000

/** Offsets of the harness's variables. */
const VARIABLE = { exit: 0, entry: 8, slot: 16, trap: 24, traps: 32, status: 40, a0: 48, a1: 56, vector: 64 }

/** Offsets in an execution's entry. */
export const ENTRY = { start: 0, exit: 8, environment: 16, x: 24, f: 32, data: 40, fcsr: 48 } as const

export interface HarnessRegisters {
  readonly context: number
  readonly scratch: number
}

/** Assembles the harness; its labels `machineTrap` and `supervisorTrap` are the trap vectors. */
export function assembleHarness(registers: HarnessRegisters): Assembly {
  return assemble(
    [start(), nextExecution(registers), trapHandler('machine'), trapHandler('supervisor'), dump(registers)]
      .join('\n')
      .replace(/\bCTX\b/g, `x${registers.context}`)
      .replace(/\bTMP\b/g, `x${registers.scratch}`),
    BigInt(RAM),
  )
}

/** Parks all harts but the first, and puts its timer off for ever. */
function start(): string {
  return `
    csrr a0, mhartid
    beqz a0, first
    csrw mie, zero
  parked:
    wfi
    j parked
  first:
    li a0, ${MTIMECMP}
    addi a1, zero, -1
    sd a1, 0(a0)
    li CTX, ${RAM + VARIABLES}
    li a0, ${RAM + EXECUTIONS}
    sd a0, ${VARIABLE.entry}(CTX)
    li a0, ${RAM + TRACE}
    sd a0, ${VARIABLE.slot}(CTX)`
}

/** Sets up the state of the next execution, in a0 its entry, and enters it by mret. */
function nextExecution(registers: HarnessRegisters): string {
  const environment = ENVIRONMENT.map((csr, index) => `ld a1, ${8 * index}(TMP); csrw ${csr}, a1`)
  const loadX = generalRegisters(registers).map((number) => `ld x${number}, ${8 * number}(TMP)`)
  const loadF = allRegisters.map((number) => `fld f${number}, ${8 * number}(a1)`)
  return `
    next:
      ld a0, ${VARIABLE.entry}(CTX)
      ld a1, ${ENTRY.start}(a0)
      beqz a1, finished
      csrw mepc, a1
      ld a1, ${ENTRY.exit}(a0)
      sd a1, ${VARIABLE.exit}(CTX)
      sd zero, ${VARIABLE.traps}(CTX)
      ld a1, ${VARIABLE.slot}(CTX)
      addi a1, a1, ${SLOT.traps}
      sd a1, ${VARIABLE.trap}(CTX)
      ld TMP, ${ENTRY.data}(a0)
      ${copyHot((at) => [`ld a1, ${at}(TMP)`, 'sd a1'])}
      li TMP, ${MSTATUS_FS}
      csrs mstatus, TMP
      ld a1, ${ENTRY.f}(a0)
      ${loadF.join('\n')}
      ld a1, ${ENTRY.fcsr}(a0)
      csrw fcsr, a1
      ld TMP, ${ENTRY.environment}(a0)
      ${environment.join('\n')}
      sfence.vma
      addi a1, a0, ${EXECUTION_BYTES}
      sd a1, ${VARIABLE.entry}(CTX)
      ld TMP, ${ENTRY.x}(a0)
      ${loadX.join('\n')}
      mret
    finished:
      li a0, 0x100000
      li a1, 0x5555
      sw a1, 0(a0)
    1:
      wfi
      j 1b`
}

const MSTATUS_FS = 0x6000
const allRegisters = Array.from({ length: 32 }, (_, number) => number)

/** The registers that blocks use. */
function generalRegisters({ context, scratch }: HarnessRegisters): number[] {
  return allRegisters.filter((number) => number !== 0 && number !== context && number !== scratch)
}

/**
 * Visits the hot dwords of the data pages; `move` gives, for their offset in a dense copy, the instruction before and
 * the beginning of the instruction that takes the data page's address as its operand. Uses s1.
 */
function copyHot(move: (at: number) => readonly [string, string]): string {
  const lines: string[] = []
  let at = 0
  for (let page = 0; page < DATA_PAGES; page++) {
    lines.push(`li s1, ${RAM + DATA + page * 0x1000 + 0x800}`)
    for (let offset = 0; offset < 0x1000; offset += 8) {
      if (offset === HOT_BYTES) offset = 0x1000 - HOT_BYTES
      const [before, access] = move(at)
      lines.push(before, `${access}, ${offset - 0x800}(s1)`)
      at += 8
    }
  }
  return lines.join('\n')
}

/** Entered by one of sixteen vectors; which one it was is part of the record. */
function trapHandler(level: 'machine' | 'supervisor'): string {
  const [m, leave] = level === 'machine' ? ['m', 'leave'] : ['s', 'supervisorLeave']
  const vectors = allRegisters.slice(0, 16).map(() => `jal TMP, ${level}Body`)
  const known = level === 'machine' ? `la a1, supervisorExit; beq TMP, a1, ${leave}` : ''
  return `
    .align 8
    ${level}Trap:
      ${vectors.join('\n')}
    ${level}Body:
      sd TMP, ${VARIABLE.vector}(CTX)
      sd a0, ${VARIABLE.a0}(CTX)
      sd a1, ${VARIABLE.a1}(CTX)
      csrr TMP, ${m}status
      sd TMP, ${VARIABLE.status}(CTX)
      csrr TMP, ${m}epc
      ld a1, ${VARIABLE.exit}(CTX)
      beq TMP, a1, ${leave}
      ${known}
      ${record(level, m, leave)}
      csrr a0, ${m}cause
      bltz a0, ${level}Interrupt
      addi a1, zero, 1
      bgeu a1, a0, ${leave}
      addi a1, zero, 12
      beq a1, a0, ${leave}
      li a1, ${~USER_ALIAS}
      and a1, a1, TMP
      lhu a1, 0(a1)
      andi a1, a1, 3
      addi a1, a1, -3
      addi TMP, TMP, 2
      bnez a1, 1f
      addi TMP, TMP, 2
    1:
      csrw ${m}epc, TMP
    ${level}Resume:
      ${level === 'machine' ? flushForMprv : ''}
      ld a0, ${VARIABLE.a0}(CTX)
      ld a1, ${VARIABLE.a1}(CTX)
      ${m}ret
      ${level === 'machine' ? '' : 'j supervisorExit'}
    ${level}Interrupt:
      addi a1, zero, 1
      sll a1, a1, a0
      csrc ${m}ie, a1
      j ${level}Resume
    ${
      level === 'machine'
        ? ''
        : `
    supervisorLeave:
      ld a0, ${VARIABLE.a0}(CTX)
      ld a1, ${VARIABLE.a1}(CTX)
    supervisorExit:
      ecall
      j supervisorExit`
    }`
}

/**
 * Returning to M-mode sets MPP to U, and with MPRV all translations change. QEMU 7.2 goes on with the old ones until
 * a fence.
 */
const flushForMprv = `
      ld a1, ${VARIABLE.status}(CTX)
      slli a1, a1, ${63 - 17}
      bgez a1, 1f
      sfence.vma
    1:`

/**
 * Appends to the slot's list of traps as long as there is room; TMP holds epc. What ebreak leaves in xtval is an
 * implementation's choice, so nothing after the record shall see it.
 */
function record(level: string, m: string, leave: string): string {
  return `
      ld a1, ${VARIABLE.traps}(CTX)
      addi a1, a1, 1
      sd a1, ${VARIABLE.traps}(CTX)
      addi a0, zero, ${TRAPS_MAX}
      bgtu a1, a0, ${leave}
      addi a0, zero, ${TRAPS_RECORDED}
      bgtu a1, a0, ${level}Recorded
      ld a1, ${VARIABLE.trap}(CTX)
      csrr a0, ${m}cause
      sd a0, 0(a1)
      sd TMP, 8(a1)
      csrr a0, ${m}tval
      sd a0, 16(a1)
      ld a0, ${VARIABLE.status}(CTX)
      sd a0, 24(a1)
      ld a0, ${VARIABLE.vector}(CTX)
      sd a0, 32(a1)
      addi a1, a1, ${TRAP_BYTES}
      sd a1, ${VARIABLE.trap}(CTX)
    ${level}Recorded:
      csrr a0, ${m}cause
      addi a0, a0, -3
      bnez a0, 1f
      csrw ${m}tval, zero
    1:`
}

/**
 * Writes the slot; x0's place takes the number of traps. PMP is switched off before the hot data are read, since an
 * access that only partly matches an entry fails in M-mode too.
 */
function dump(registers: HarnessRegisters): string {
  const storeX = generalRegisters(registers)
    .filter((number) => number !== 10 && number !== 11)
    .map((number) => `sd x${number}, ${SLOT.x + 8 * number}(TMP)`)
  const storeF = allRegisters.map((number) => `fsd f${number}, ${SLOT.f + 8 * number}(TMP)`)
  const storeCsr = DUMPED.slice(1).map(
    (csr, index) => `csrr a1, ${csr}; sd a1, ${SLOT.csr + 8 * (index + 1)}(TMP)`,
  )
  return `
    leave:
      ld TMP, ${VARIABLE.slot}(CTX)
      ${storeX.join('\n')}
      ld a0, ${VARIABLE.a0}(CTX)
      sd a0, ${SLOT.x + 80}(TMP)
      ld a0, ${VARIABLE.a1}(CTX)
      sd a0, ${SLOT.x + 88}(TMP)
      ld a0, ${VARIABLE.traps}(CTX)
      sd a0, ${SLOT.x}(TMP)
      ld a0, ${VARIABLE.status}(CTX)
      sd a0, ${SLOT.csr}(TMP)
      li a0, ${MSTATUS_FS}
      csrs mstatus, a0
      ${storeCsr.join('\n')}
      csrw pmpcfg0, zero
      ${storeF.join('\n')}
      ${copyHot((at) => (at === 0 ? ['', 'ld a1'] : [`sd a1, ${SLOT.data + at - 8}(TMP)`, 'ld a1']))}
      sd a1, ${SLOT_BYTES - 8}(TMP)
      li a0, ${SLOT_BYTES}
      add TMP, TMP, a0
      sd TMP, ${VARIABLE.slot}(CTX)
      j next`
}
