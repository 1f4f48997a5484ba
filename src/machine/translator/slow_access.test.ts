/** Accesses that miss in translated code, beside and over the bounds of pages that are not neighbours in RAM. */
import { test } from 'node:test'
import { nodeEngine } from '../../host/engine.ts'
import { assemble } from '../../isa/assemble.ts'
import { PAGE_BYTES } from '../layout.ts'
import { AddressSpace, PTE, RW, RX, useTables } from '../testing/address_space.ts'
import { BothWays } from '../testing/both_ways.ts'
import { DATA, enter, OPEN_PMP } from '../testing/program.ts'

const CODE = 0x4000_0000n
/** Two pages that are not neighbours in RAM, nothing, a page that can be read only, another page; s2 to s6 are theirs. */
const WINDOW = 0x4010_0000n
/** Differs from WINDOW in its upper half only; t3. */
const FAR = WINDOW + 0x1_0000_0000n

/** Executes `body`, in S-mode, in 400 rounds; each access that faults is passed by. */
function compare(body: string): void {
  const code = `
   round: addi s1, s1, -1; blez s1, 9f
     ld a0, 0(s2); sd a0, 0(s2); ld a0, 0(s3); sd a0, 0(s3); ld a0, 0(s5); ld a0, 0(s6); sd a0, 0(s6); j 1f
   1: ${body}
     slli t1, a6, 1; add a6, a6, a1; xor a6, a6, t1; xor a6, a6, a2; add a6, a6, a3; xor s7, s7, a6; j round
   9: jr t6`
  const pointers = [2, 3, 4, 5, 6].map((s, i) => `li s${s}, ${WINDOW + BigInt(i * PAGE_BYTES)}`)
  for (const piece of [61n, 997n, 100_000n]) {
    const both = new BothWays(
      nodeEngine,
      `${OPEN_PMP}; ${useTables()}; ${pointers.join('; ')}; li t3, ${FAR}; li s0, ${CODE}; li s1, 400
       la t0, trap; csrw mtvec, t0; j 1f
       .align 2
     trap:
       csrr gp, mcause; add tp, tp, gp; addi gp, gp, -9; bnez gp, 7f; j handler
     7: csrr gp, mtval; xor tp, tp, gp; slli gp, tp, 3; add tp, tp, gp; csrr gp, mepc; add tp, tp, gp; addi gp, gp, 4; csrw mepc, gp; mret
     1: ${enter('S')}; jalr t6, 0(s0); ecall`,
    )
    both.each(({ machine }) => {
      const space = new AddressSpace(machine)
      space.mapRam()
      space.map(CODE, DATA, RX)
      const mapped: [bigint, number, number][] = [
        [WINDOW, 3, RW],
        [WINDOW + 0x1000n, 6, RW],
        [WINDOW + 0x3000n, 4, RW & ~PTE.w],
        [WINDOW + 0x4000n, 5, RW],
        [FAR, 7, RW],
      ]
      for (const [va, page, flags] of mapped) {
        const pa = DATA + page * PAGE_BYTES
        space.map(va, pa, flags)
        machine.ram.write(
          pa,
          Uint8Array.from({ length: PAGE_BYTES }, (_, i) => (i * 7 + page * 13) & 255),
        )
      }
      machine.ram.write(DATA, assemble(code, CODE).bytes)
    })
    both.finish(piece)
  }
}

test('loads over the bound of two pages', () => {
  compare('ld a1, -4(s3); lw a2, -2(s3); lh a3, -1(s3)')
})

test('stores over the bound of two pages', () => {
  compare('sd a6, -4(s3); sw a6, -2(s3); sh a6, -1(s3); ld a1, -8(s3); ld a2, 0(s3)')
})

test('what lies partly on a page that is not there, or not to be written, is not there', () => {
  compare('ld a1, -4(s4); lw a2, -2(s4); sd a6, -4(s4); sw a6, -2(s4); ld a3, -8(s4)')
  compare('sd a6, -4(s5); sd a6, -4(s6); ld a1, -4(s6); lhu a2, -1(s6)')
})

test('a page that can be read only', () => {
  compare('ld a1, 0(s5); sd a1, 0(s5); sw a1, 4(s5); lw a2, 4(s5); sb a1, 9(s5)')
})

test('addresses of which the lower halves are alike', () => {
  compare('ld a1, 0(t3); sd a6, 8(t3); ld a2, 16(t3); sd a6, 24(t3); ld a3, 0(s2)')
})

test('groups that lie on two pages', () => {
  compare(
    `addi sp, s3, -16; sd a6, 0(sp); sd a1, 8(sp); sd a2, 16(sp); sw a3, 24(sp); sh a3, 28(sp); sb a3, 31(sp)
     ld a1, 0(sp); ld a2, 8(sp); ld a3, 16(sp); lw a1, 24(sp); lhu a2, 28(sp); lb a3, 31(sp)`,
  )
  compare(
    `addi sp, s3, -8; lb a1, 0(sp); lh a2, 2(sp); lw a3, 4(sp); lbu a4, 8(sp); lhu a5, 10(sp); lwu t0, 12(sp)
     add a1, a1, a4; add a2, a2, a5; add a3, a3, t0`,
  )
})
