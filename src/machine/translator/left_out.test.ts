/** What a region has left out becomes part of it when code comes there, and what it had before stays. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../../host/engine.ts'
import { assemble } from '../../isa/assemble.ts'
import { CODE_SLOTS } from '../layout.ts'
import { BothWays } from '../testing/both_ways.ts'
import { DATA } from '../testing/program.ts'
import { TIERS } from './translator.ts'

/** More pages than there are slots for predecoded code. */
const OTHERS = CODE_SLOTS + 50
/** Of the way that is taken first. */
const HOT = 40
/** Bytes of WebAssembly behind a slice, in the tier `eager`. */
const AT_ONCE = TIERS.eager.wasmBytesAtOnce
const FUNCTION = DATA + (OTHERS + 1) * 4096

const PROGRAM = `
  call:                         # calls the function at s0 s1 times
     jalr ra, 0(s0); addi s1, s1, -1; bnez s1, call
     ecall
  visit:                        # calls what is at the beginning of s1 pages from s0 on
     li s2, 4096
  1: jalr ra, 0(s0); add s0, s0, s2; addi s1, s1, -1; bnez s1, 1b
     ecall`

function call(both: BothWays, label: string, { s0, s1, a1 }: Record<'s0' | 's1' | 'a1', number>): void {
  both.each(({ hart }) => {
    hart.setX(8, BigInt(s0))
    hart.setX(9, BigInt(s1))
    hart.setX(11, BigInt(a1))
  })
  both.goTo(label)
  both.finish(200_003n)
}

test('a region that is made anew keeps what it had, though its page has slept and nothing of it has been met since', () => {
  const both = new BothWays(nodeEngine, PROGRAM, { ramBytes: 64 << 20 })
  const source = `beqz a1, other; ${'addi a0, a0, 3\n'.repeat(HOT)} ret; other: xori a0, a0, 5; ret`
  const ret = assemble('ret', 0n).bytes
  both.each(({ machine }) => {
    machine.ram.write(FUNCTION, assemble(source, 0n).bytes)
    for (let page = 0; page < OTHERS; page++) machine.ram.write(DATA + page * 4096, ret)
  })
  call(both, 'call', { s0: FUNCTION, s1: 2000, a1: 1 })
  const { regions } = both.counts
  assert.ok(regions > 0)
  call(both, 'visit', { s0: DATA, s1: OTHERS, a1: 1 })
  const before = { ...both.counts }
  call(both, 'call', { s0: FUNCTION, s1: 2000, a1: 0 })
  assert.ok(both.counts.woken > before.woken, 'the page has not slept')
  assert.ok(both.counts.regions > before.regions, 'what was left out is not translated')
  const emitted = both.counts.instructions - before.instructions
  assert.ok(emitted >= HOT, `${emitted} instructions`)
})

test('all regions that lead to a place are made anew with it, though not all at once', () => {
  const both = new BothWays(nodeEngine, PROGRAM)
  const functions = 4
  const loads = 120
  const functionBytes = (loads * 2 + 2) * 4
  const hot = 'ld t0, 0(s0); add a0, a0, t0\n'.repeat(loads)
  const source = `${`beqz a1, shared; ${hot} ret\n`.repeat(functions)} shared: xori a0, a0, 5; ret`
  both.each(({ machine }) => machine.ram.write(DATA, assemble(source, 0n).bytes))
  const callAll = (a1: number): void => {
    for (let i = 0; i < functions; i++) call(both, 'call', { s0: DATA + i * functionBytes, s1: 500, a1 })
  }
  callAll(1)
  const before = { ...both.counts }
  callAll(0)
  const emitted = both.counts.instructions - before.instructions
  assert.ok(emitted >= functions * 2 * loads, `${emitted} instructions`)
  assert.ok(
    both.counts.wasmBytes - before.wasmBytes > functions * AT_ONCE,
    'they could have been made at once',
  )
})
