import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeAscii } from '../base/text.ts'
import { nodeEngine } from '../host/engine.ts'
import { assemble } from '../isa/assemble.ts'
import { BareComputer, type BareEnd, signature } from './bare.ts'
import type { ElfFile } from './elf.ts'

const BASE = 0x8000_0000

interface Outcome {
  readonly end: BareEnd
  readonly printed: string
  readonly position: bigint
  readonly signature: string | undefined
  readonly dword: (label: string) => bigint
}

/** Runs a program that finds tohost and fromhost at t0. `cut` is where the run is interrupted, if at all. */
function run(source: string, cut = 0n): Outcome {
  const { bytes, labels } = assemble(
    `la t0, tohost; ${source}
     1: j 1b
     .align 3
     tohost: .dword 0
     fromhost: .dword 0`,
    BigInt(BASE),
  )
  const elf: ElfFile = {
    kind: 'executable',
    entry: BigInt(BASE),
    segments: [{ address: BASE, bytes, memoryBytes: bytes.length }],
    code: [],
    symbols: [...labels].map(([name, address]) => ({ name, address, isFunction: false, isGlobal: true })),
  }
  let printed = ''
  const print = (text: Uint8Array): void => {
    printed += decodeAscii(text)
  }
  const computer = new BareComputer({ engine: nodeEngine, elf, name: 'test', ramBytes: 2 << 20, print })
  for (let limit = cut; limit < 2000n && cut > 0n; limit += cut) computer.run(limit)
  return {
    end: computer.run(2000n),
    printed,
    position: computer.machine.position,
    signature: signature(computer, elf),
    dword: (label) => computer.machine.ram.load64(Number(labels.get(label)!)),
  }
}

const exits = (status: number): BareEnd => ({ kind: 'exit', status })

test('a doubleword with an odd payload ends the program at once', () => {
  const { end, position } = run('li t1, 7; sd t1, 0(t0)')
  assert.deepEqual(end, exits(3))
  assert.equal(position, 4n)
})

test('a character whose low word is stored before its high word is printed, also an odd one', () => {
  const putc = (code: number): string => `li t1, ${code}; sw t1, 0(t0); li t1, 0x01010000; sw t1, 4(t0)`
  const { end, printed, dword } = run(`${putc(0x61)}; ${putc(0x62)}; ${putc(0x61)}; li t1, 1; sd t1, 0(t0)`)
  assert.equal(printed, 'aba')
  assert.deepEqual(end, exits(0))
  assert.equal(dword('fromhost'), 0n, 'printing has no answer')
})

test('a low word alone ends the program: repeated, followed by a zero high word, before a wait, or after a while', () => {
  for (const rest of ['j 1f; 1: sw t1, 0(t0)', 'sw zero, 4(t0)', 'wfi', '']) {
    assert.deepEqual(run(`li t1, 11; sw t1, 0(t0); ${rest}`).end, exits(5), rest)
  }
})

test('when a held low word becomes a request does not depend on how the run is cut', () => {
  const source = 'li t1, 11; sw t1, 0(t0)'
  const { position } = run(source)
  for (const cut of [1n, 7n, 50n]) assert.equal(run(source, cut).position, position)
})

test('a system call is answered in fromhost', () => {
  const { printed, end, dword } = run(`
      la t1, call
      sd t1, 0(t0)
      li t1, 1
      sd t1, 0(t0)
      .align 3
      call: .dword 64, 1, text, 2, 0, 0, 0, 0
      text: .ascii "hi"`)
  assert.equal(printed, 'hi')
  assert.deepEqual(end, exits(0))
  assert.deepEqual([dword('fromhost'), dword('call')], [1n, 2n])
})

test('the last line of a signature is filled up with zeros', () => {
  const program = `li t1, 1; sd t1, 0(t0); .byte 0; begin_signature: .word 0x89abcdef; .byte 1, 2
      end_signature: .byte 3`
  assert.equal(run(program).signature, '89abcdef\n00000201\n')
})
