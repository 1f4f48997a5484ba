/** The parts of the bench without an operating system: the interpreter in small loops, `exec`, and the log. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BareComputer } from '../src/board/bare.ts'
import { readElf } from '../src/board/elf.ts'
import { nodeEngine } from '../src/host/engine.ts'
import { BatchDecoder, BatchEncoder } from '../src/log/batch.ts'
import type { NewRecord } from '../src/log/record.ts'
import type { Translation } from '../src/machine/machine_options.ts'
import { bareElf } from '../test/bare_elf.ts'
import { root } from '../tools/runtime.ts'
import type { BenchOptions } from './guest_parts.ts'
import { QEMU } from './machines.ts'
import { type Figure, figure } from './results.ts'

/**
 * Loops of M-mode, without paging. `count` is how often each goes round, in thousands; then the machine is switched off
 * by the syscon, which is where QEMU's is. The body may use all registers but s10 and s11.
 */
const LOOPS: readonly { readonly name: string; readonly setUp: string; readonly body: string }[] = [
  {
    name: 'integer',
    setUp: 'li a0, 12345; li a1, 0x9e3779b9',
    body: `
      mul a0, a0, a1; xor a2, a0, s11; slli a3, a2, 7; srli a4, a2, 9; or a5, a3, a4; add a0, a0, a5
      andi a6, a0, 1; beqz a6, 1f; addi a0, a0, 3
    1:`,
  },
  {
    name: 'memory',
    setUp: 'la s0, data; li s1, 0',
    body: `
      slli a0, s11, 3; li a1, 0x7ff8; and a0, a0, a1; add a0, a0, s0; ld a2, 0(a0); add s1, s1, a2; sd s1, 0(a0)
      lw a3, 8(a0); sw a3, 16(a0); lbu a4, 3(a0); add s1, s1, a4`,
  },
  {
    name: 'calls',
    setUp: 'la sp, data; li t0, 0x8000; add sp, sp, t0',
    body: `
      mv a0, s11; call twice; add s1, s1, a0; j 1f
    twice:
      addi sp, sp, -16; sd ra, 8(sp); call once; call once; ld ra, 8(sp); addi sp, sp, 16; ret
    once:
      addi a0, a0, 1; ret
    1:`,
  },
  {
    name: 'floating point',
    setUp: 'li t0, 0x6000; csrs mstatus, t0; li a0, 3; fcvt.d.l fa0, a0; li a0, 1; fcvt.d.l fa1, a0',
    body: `
      fadd.d fa2, fa1, fa0; fmul.d fa3, fa2, fa0; fdiv.d fa1, fa3, fa2; fmadd.d fa4, fa1, fa0, fa2; flt.d a1, fa4, fa2`,
  },
]

type Loop = (typeof LOOPS)[number]

function loopElf({ setUp, body }: Loop, thousands: number): Uint8Array {
  return bareElf(`
_start:
  ${setUp}
  li s10, ${thousands * 1000}
  li s11, 0
loop:
  ${body}
  addi s11, s11, 1
  bne s11, s10, loop
  li t0, 0x100000; li t1, 0x5555; sw t1, 0(t0)
2: j 2b
.align 12
data: .zero 0x8000
`)
}

const RAM_BYTES = 64 * 2 ** 20
/** Steps before the measurement: V8 compiles what is hot meanwhile. */
const WARM_UP_STEPS = 400_000_000n
const MEASURED_STEPS = 400_000_000n
const ENDLESS_THOUSANDS = 100_000_000
/** The same loops on QEMU: the time of the longer run less that of the shorter. */
const QEMU_SHORT_THOUSANDS = 1000
const QEMU_LONG_THOUSANDS = 31_000

/** Millions of steps a second in small loops. */
export function measureBare(options: BenchOptions): Figure[] {
  const folder = mkdtempSync(join(tmpdir(), 'bench-bare-'))
  try {
    return LOOPS.flatMap((loop) => {
      options.say(`bare loop: ${loop.name}`)
      const { interpreted, translated, qemu } = measureLoop(loop, folder, options)
      const of = (name: string, samples: number[]): Figure =>
        figure({ part: 'bare', name, unit: 'M steps/s', isRate: true }, samples, { qemu })
      return [of(loop.name, interpreted), of(`${loop.name}, translated`, translated)]
    })
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Samples of a loop: M steps/s. */
type LoopSamples = Record<'interpreted' | 'translated' | 'qemu', number[]>

function measureLoop(loop: Loop, folder: string, { repeat, withQemu }: BenchOptions): LoopSamples {
  const elf = readElf(loopElf(loop, ENDLESS_THOUSANDS), loop.name)
  const computerWith = (translation: Translation): BareComputer => {
    const parts = { engine: nodeEngine, elf, name: loop.name, ramBytes: RAM_BYTES, translation }
    const computer = new BareComputer({ ...parts, print: () => {} })
    computer.run(WARM_UP_STEPS)
    return computer
  }
  const computers = { interpreted: computerWith('off'), translated: computerWith('hot') }
  const paths = [QEMU_SHORT_THOUSANDS, QEMU_LONG_THOUSANDS].map((thousands) => {
    const path = join(folder, `${thousands}.elf`)
    writeFileSync(path, loopElf(loop, thousands))
    return path
  }) as [string, string]
  const longSteps = withQemu ? stepsPerRound(loop) * (QEMU_LONG_THOUSANDS - QEMU_SHORT_THOUSANDS) * 1000 : 0
  const samples: LoopSamples = { interpreted: [], translated: [], qemu: [] }
  for (let round = 0; round < repeat; round++) {
    for (const tier of ['interpreted', 'translated'] as const) {
      const computer = computers[tier]
      const seconds = secondsOf(() => void computer.run(computer.machine.position + MEASURED_STEPS))
      samples[tier].push(Number(MEASURED_STEPS) / seconds / 1e6)
    }
    if (withQemu) samples.qemu.push(longSteps / (qemuSeconds(paths[1]) - qemuSeconds(paths[0])) / 1e6)
  }
  return samples
}

/** Steps of one round of a loop, on average. */
function stepsPerRound(loop: Loop): number {
  const elf = readElf(loopElf(loop, 100), loop.name)
  const computer = new BareComputer({
    ...{ engine: nodeEngine, elf, name: loop.name, ramBytes: RAM_BYTES },
    print: () => {},
  })
  computer.run(1_000_000_000n)
  return Number(computer.machine.position) / 100_000
}

function qemuSeconds(path: string): number {
  const words = ['-M', 'virt', '-m', '64', '-bios', 'none', '-nographic', '-kernel', path]
  return secondsOf(() => {
    const { status, error, stderr } = spawnSync(QEMU, words, { stdio: ['ignore', 'ignore', 'pipe'] })
    if (status !== 0) throw error ?? new Error(`${QEMU}: ${stderr}`)
  })
}

function secondsOf(work: () => void): number {
  const start = performance.now()
  work()
  return (performance.now() - start) / 1000
}

/** The whole of `understudy exec` of a program that ends at once. */
export function measureExec({ say, repeat }: BenchOptions): Figure[] {
  say('exec')
  const folder = mkdtempSync(join(tmpdir(), 'bench-exec-'))
  const path = join(folder, 'trivial.elf')
  writeFileSync(
    path,
    bareElf('_start: la t0, tohost; li t1, 1; sd t1, 0(t0)\n1: j 1b\n.align 6\ntohost: .dword 0'),
  )
  try {
    const run = (): number =>
      secondsOf(() => {
        const { status } = spawnSync(join(root, 'understudy'), ['exec', path], { stdio: 'inherit' })
        if (status !== 0) throw new Error(`understudy exec ended with ${status}`)
      })
    // The first run may find nothing in the cache of compiled code.
    run()
    const samples = Array.from({ length: repeat + 2 }, run)
    return [figure({ part: 'exec', name: 'a program that ends at once', unit: 's' }, samples)]
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const LOG_ROUNDS = 50_000
const FRAME_BYTES = 200

/** What a busy network server's log is made of: a frame, the clock, an output, how far it is. */
function* sampleRecords(): Generator<NewRecord> {
  const bytes = Uint8Array.from({ length: FRAME_BYTES }, (_, i) => (i * 37) & 0xff)
  for (let i = 0; i < LOG_ROUNDS; i++) {
    const position = BigInt(i) * 40_000n
    yield { kind: 'input', position, port: 2, bytes }
    const base = BigInt(i) * 2000n
    yield { kind: 'clock', position, base, rate: 214_748_365n, cap: base + 100_000n, rtcOffsetNs: 0n }
    const digest = (BigInt(i) * 0x9e37_79b9_7f4a_7c15n) & 0xffff_ffff_ffff_ffffn
    yield { kind: 'output', position: position + 20_000n, port: 2, ordinal: BigInt(i + 1), digest }
    yield { kind: 'reached', position: position + 30_000n }
  }
}

/** Encoding and decoding the log. */
export function measureLog({ say, repeat }: BenchOptions): Figure[] {
  say('log')
  const records = [...sampleRecords()]
  const samples = {
    encode: [] as number[],
    decode: [] as number[],
    rate: [] as number[],
    back: [] as number[],
  }
  for (let round = 0; round < repeat; round++) {
    let batches: Uint8Array[] = []
    const encodeSeconds = secondsOf(() => {
      batches = encodeAll(records)
    })
    const decodeSeconds = secondsOf(() => decodeAll(batches, records.length))
    const megabytes = batches.reduce((sum, { length }) => sum + length, 0) / 1e6
    samples.encode.push(megabytes / encodeSeconds)
    samples.decode.push(megabytes / decodeSeconds)
    samples.rate.push(records.length / encodeSeconds / 1e6)
    samples.back.push(records.length / decodeSeconds / 1e6)
  }
  const rate = (name: string, unit: string, values: number[]): Figure =>
    figure({ part: 'log', name, unit, isRate: true }, values)
  return [
    ...[rate('encode', 'MB/s', samples.encode), rate('encode', 'M records/s', samples.rate)],
    ...[rate('decode', 'MB/s', samples.decode), rate('decode', 'M records/s', samples.back)],
  ]
}

const BATCH_RECORDS = 1000

function encodeAll(records: readonly NewRecord[]): Uint8Array[] {
  const encoder = new BatchEncoder({ life: 1, nextIndex: 0n, position: 0n })
  const batches: Uint8Array[] = []
  for (const record of records) {
    encoder.append(record)
    if (encoder.records === BATCH_RECORDS) batches.push(encoder.take()!)
  }
  const last = encoder.take()
  return last === undefined ? batches : [...batches, last]
}

function decodeAll(batches: readonly Uint8Array[], expected: number): void {
  const decoder = new BatchDecoder('the log')
  let found = 0
  for (const bytes of batches) {
    decoder.push(bytes)
    for (let batch = decoder.next(); batch !== undefined; batch = decoder.next())
      found += batch.records.length
  }
  if (found !== expected) throw new Error(`decoded ${found} of ${expected} records`)
}
