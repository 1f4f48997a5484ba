import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { FormatError, UserError } from '../base/errors.ts'
import { encodeAscii } from '../base/text.ts'
import type { GuestMemory } from '../machine/device.ts'
import { loadSegments, readElf, symbolAddress } from './elf.ts'
import { SMALL_ELF as AT, CODE, CODE_ADDRESS, SECTION_COUNT, smallElf } from './testing/small_elf.ts'

const LOCAL_FUNCTION = 0x02
const LOCAL_FILE = 0x04
const GLOBAL_OBJECT = 0x11
const withSymbols = () =>
  smallElf([
    ['tohost', 0x10n, LOCAL_FUNCTION, 1],
    ['tohost', 0x8000_1000n, GLOBAL_OBJECT, 1],
    ['elsewhere', 0n, GLOBAL_OBJECT, 0],
    ['main.c', 0n, LOCAL_FILE, 0xfff1],
    ['$xrv64i2p1', 0x8000_0000n, 0, 1],
    ['end_signature', 0xffff_ffff_8000_0000n, GLOBAL_OBJECT, 0xfff1],
  ])

/** A copy of `file` with a number put at `offset`. */
function changed(file: Uint8Array, offset: number, bytes: 1 | 2 | 4 | 8, value: bigint): Uint8Array {
  const copy = file.slice()
  for (let index = 0; index < bytes; index++)
    copy[offset + index] = Number((value >> BigInt(8 * index)) & 0xffn)
  return copy
}

function refused(file: Uint8Array, message: string): void {
  assert.throws(() => readElf(file, 'a.elf'), new FormatError(`a.elf: ${message}`))
}

test('segments, code and entry of an executable are found', () => {
  const elf = readElf(smallElf(), 'a.elf')
  assert.deepEqual(elf, {
    kind: 'executable',
    entry: CODE_ADDRESS + 4n,
    segments: [{ address: Number(CODE_ADDRESS), bytes: CODE, memoryBytes: 0x100 }],
    code: [{ name: '.text', address: CODE_ADDRESS, bytes: CODE }],
    symbols: [],
  })
})

test('a file without sections shows its executable segments as code', () => {
  const elf = readElf(changed(smallElf(), 40, 8, 0n), 'a.elf')
  assert.deepEqual(elf.code, [{ name: 'segment 0', address: CODE_ADDRESS, bytes: CODE }])
  assert.deepEqual(elf.symbols, [])
})

test('symbols that name a place are read, and a global one is preferred', () => {
  const elf = readElf(withSymbols(), 'a.elf')
  assert.deepEqual(
    elf.symbols.map(({ name, isFunction, isGlobal }) => [name, isFunction, isGlobal]),
    [
      ['tohost', true, false],
      ['tohost', false, true],
      ['end_signature', false, true],
    ],
  )
  assert.equal(symbolAddress(elf, 'tohost'), 0x8000_1000n)
  assert.equal(symbolAddress(elf, 'end_signature'), 0xffff_ffff_8000_0000n)
  assert.equal(symbolAddress(elf, 'elsewhere'), undefined)
})

test('what is not an RV64 program is refused by name', () => {
  const file = smallElf()
  refused(encodeAscii('#!/bin/sh\n'), 'not an ELF file (it does not begin with 7f 45 4c 46)')
  refused(file.subarray(0, 40), 'the ELF header lies outside the file: 64 bytes at 0 of 40')
  refused(changed(file, 4, 1, 1n), 'not a 64-bit ELF file; this machine is RV64')
  refused(changed(file, 5, 1, 2n), 'not a little-endian ELF file')
  refused(changed(file, 18, 2, 62n), 'made for machine 62, not for RISC-V (243)')
  refused(
    changed(file, 16, 2, 1n),
    'ELF type 1: neither an executable (2) nor a shared object (3); link it first',
  )
})

test('a damaged field is named with its place', () => {
  const file = withSymbols()
  const size = file.length
  const sections = size - SECTION_COUNT * 64
  const cases: [offset: number, bytes: 2 | 4 | 8, value: bigint, message: string][] = [
    [
      32,
      8,
      2n ** 63n,
      `the table of program headers lies outside the file: 56 bytes at ${2n ** 63n} of ${size}`,
    ],
    [54, 2, 32n, 'program headers of 32 bytes each, not 56'],
    [58, 2, 63n, 'section headers of 63 bytes each, not 64'],
    [60, 2, 0xff00n, '65280 sections: at least 1 and fewer than 65280 are supported'],
    [60, 2, 6n, `the table of section headers lies outside the file: 384 bytes at ${sections} of ${size}`],
    [62, 2, 9n, 'the names of sections should be in section 9, which is not a string table'],
    [
      AT.programHeader + 8,
      8,
      2n ** 40n,
      `segment 0 lies outside the file: 6 bytes at ${2n ** 40n} of ${size}`,
    ],
    [
      AT.programHeader + 24,
      8,
      2n ** 60n,
      `segment 0 ends beyond any physical memory: 256 bytes at 0x1${'0'.repeat(15)}`,
    ],
    [AT.programHeader + 40, 8, 5n, 'segment 0 has 6 bytes in the file but 5 in memory'],
    [AT.symbols + 24, 4, 999n, 'the name of symbol 1 is not in its string table: offset 999 of 57'],
    [sections + 64, 4, 99n, 'the name of section 1 is not in its string table: offset 99 of 33'],
    [
      sections + 64 + 32,
      8,
      2n ** 32n,
      `section 1 lies outside the file: ${2n ** 32n} bytes at 128 of ${size}`,
    ],
    [
      sections + 2 * 64 + 40,
      4,
      1n,
      'the names of symbols should be in section 1, which is not a string table',
    ],
    [sections + 2 * 64 + 56, 8, 16n, 'the symbol table has 168 bytes in entries of 16, not of 24'],
  ]
  for (const [offset, bytes, value, message] of cases) refused(changed(file, offset, bytes, value), message)
})

test('every truncation is refused', () => {
  const file = withSymbols()
  for (let length = 0; length < file.length; length++) {
    assert.throws(() => readElf(file.subarray(0, length), 'a.elf'), FormatError)
  }
})

test('bit flips are read or refused, never anything else', () => {
  const file = withSymbols()
  const flip = fc.tuple(fc.nat(file.length - 1), fc.nat(7))
  fc.assert(
    fc.property(fc.array(flip, { minLength: 1, maxLength: 8 }), (flips) => {
      const damaged = file.slice()
      for (const [offset, bit] of flips) damaged[offset]! ^= 1 << bit
      try {
        const { segments } = readElf(damaged, 'a.elf')
        for (const { address, bytes, memoryBytes } of segments) {
          assert.ok(bytes.length <= memoryBytes && Number.isSafeInteger(address + memoryBytes))
        }
      } catch (error) {
        assert.ok(error instanceof FormatError, String(error))
      }
    }),
    { numRuns: 20_000 },
  )
})

test('segments are loaded only if all of them are in RAM', () => {
  const written: [number, Uint8Array][] = []
  const ram = (end: number) =>
    ({
      contains: (address: number, length: number) => address >= 0x8000_0000 && address + length <= end,
      write: (address: number, bytes: Uint8Array) => void written.push([address, bytes]),
    }) as GuestMemory
  const elf = readElf(smallElf(), 'a.elf')
  assert.throws(
    () => loadSegments(elf, ram(0x8000_00ff), 'a.elf'),
    new UserError("a.elf: 256 bytes at 0x80000000 are outside the RAM; link it to the RAM's addresses"),
  )
  assert.deepEqual(written, [])
  loadSegments(elf, ram(0x8000_0100), 'a.elf')
  assert.deepEqual(written, [[0x8000_0000, CODE]])
})

test('a segment without memory may be anywhere', () => {
  const empty = { address: 0, bytes: new Uint8Array(0), memoryBytes: 0 }
  const memory = { contains: () => false, write: () => assert.fail('nothing to write') }
  loadSegments(
    { ...readElf(smallElf(), 'a.elf'), segments: [empty] },
    memory as unknown as GuestMemory,
    'a.elf',
  )
})

const prefix = 'riscv64-linux-gnu-'
const missing = spawnSync(`${prefix}ld`, ['--version']).error !== undefined
const skip = missing && process.env['CI'] !== 'true' && `${prefix}ld is not installed`

test('a program linked by the GNU tools is read as readelf reads it', { skip }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'understudy-elf-'))
  const run = (tool: string, ...args: string[]): string => {
    const { status, stdout, stderr } = spawnSync(prefix + tool, args, { cwd: folder, encoding: 'latin1' })
    assert.equal(status, 0, stderr)
    return stdout
  }
  try {
    writeFileSync(
      join(folder, 'a.s'),
      `.globl _start, tohost
       _start: la t0, tohost
       sd a0, (t0)
       .type work, @function
       work: ret
       .data
       tohost: .dword 1
       .bss
       .zero 100\n`,
    )
    run('as', '-o', 'a.o', 'a.s')
    run('ld', '-N', '-Ttext=0x80000000', '-o', 'a.elf', 'a.o')
    const elf = readElf(readFileSync(join(folder, 'a.elf')), 'a.elf')
    const loads = [...run('readelf', '-lW', 'a.elf').matchAll(/^ +LOAD +\S+ +\S+ +(\S+) +(\S+) +(\S+)/gm)]
    assert.deepEqual(
      elf.segments.map(({ address, bytes, memoryBytes }) => [address, bytes.length, memoryBytes]),
      loads.map((load) => load.slice(1).map(Number)),
    )
    const named = new Map(elf.symbols.map(({ name, address }) => [name, address]))
    const symbols = run('readelf', '-sW', 'a.elf').matchAll(/: (\w+) .* (tohost|_start|work|_end)$/gm)
    const expected = [...symbols].map(([, address, name]) => [name!, BigInt(`0x${address}`)] as const)
    assert.equal(expected.length, 4)
    for (const [name, address] of expected) assert.equal(named.get(name), address)
  } finally {
    rmSync(folder, { recursive: true })
  }
})
