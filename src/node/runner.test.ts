import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PORT } from '../board/computer.ts'
import { Recorder } from '../board/recorder.ts'
import { sbiCall, smallComputer } from '../board/testing/small_computer.ts'
import { nodeEngine } from '../host/engine.ts'
import { type RunEnd, Runner, type RunnerEnvironment } from './runner.ts'

const MIB = 2 ** 20

interface Options {
  readonly harts?: number
  readonly diskSectors?: number
  readonly environment?: (runner: () => Runner) => Partial<RunnerEnvironment>
}

function smallRunner(source: string, { environment, ...specification }: Options = {}): Runner {
  const computer = smallComputer(nodeEngine, source, specification)
  const recorder = new Recorder(computer, { life: 1, nextIndex: 0n, position: computer.position })
  const runner: Runner = new Runner(computer, recorder, {
    submitDisk: () => {},
    output: () => {},
    recordDigests: false,
    ...environment?.(() => runner),
  })
  return runner
}

/** Runs until the guest ends, or stops the runner after `ms`. Returns how it ended, and after how long. */
async function runFor(runner: Runner, ms: number): Promise<{ end: RunEnd['reason']; ms: number }> {
  const start = performance.now()
  const timer = setTimeout(() => runner.stop(), ms)
  const { reason } = await runner.run()
  clearTimeout(timer)
  return { end: reason, ms: performance.now() - start }
}

test('a runner that is stopped while it hands on an output does not sleep first', async () => {
  const source = `li a0, 65; ${sbiCall('DBCN', 2)}; loop: wfi; j loop`
  const runner = smallRunner(source, { environment: (self) => ({ output: () => self().stop() }) })
  const { end, ms } = await runFor(runner, 5000)
  assert.equal(end, 'stopped')
  assert.ok(ms < 2000, `${ms} ms`)
})

test('a guest of which every step is slow does not hold up the event loop', async () => {
  const runner = smallRunner('loop: pause; j loop', { harts: 2 })
  const { ms } = await runFor(runner, 50)
  assert.ok(ms < 1000, `${ms} ms`)
})

test('a guest that gets an input whenever it idles does not shut out the event loop', async () => {
  // It wants to be woken so soon that the host is always late, and every turn of the loop brings an input.
  const source = `
      li t0, 32; csrs sie, t0
    loop:
      li a0, 65; ${sbiCall('DBCN', 2)}
      rdtime a0; addi a0, a0, 20; ${sbiCall('TIME', 0)}
      wfi; j loop`
  let turns = 0
  const output = (self: () => Runner): void => {
    // Ends a test that fails; the event loop cannot.
    if (turns++ > 100_000) self().stop()
    self().deliver({ kind: 'input', port: PORT.entropy, bytes: new Uint8Array(1) })
  }
  const runner = smallRunner(source, { environment: (self) => ({ output: () => output(self) }) })
  await runFor(runner, 300)
  assert.ok(turns > 10 && turns < 100_000, `${turns} turns`)
})

test('a guest that reads slowly loses nothing of what is typed, and whoever types it waits', async () => {
  // It raises RTS and adds up what it reads, 300 thousand bytes, with a pause before each; then it powers off if all is right.
  const bytes = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff)
  const hash = bytes.reduce((sum, byte) => (Math.imul(sum, 31) + byte) | 0, 0)
  const source = `
      li s0, 0x10000000; li t0, 2; sb t0, 4(s0)
      li s1, ${bytes.length}; li s2, 0; li s3, 31
    next:
      li t0, 20
    wait:
      addi t0, t0, -1; bnez t0, wait
      lbu t0, 5(s0); andi t0, t0, 1; beqz t0, next
      lbu t1, 0(s0); mulw s2, s2, s3; addw s2, s2, t1
      addi s1, s1, -1; bnez s1, next
      li t0, ${hash}; bne s2, t0, fail
      li t0, 0x100000; li t1, 0x5555; sw t1, 0(t0)
    fail:
      j fail`
  const runner = smallRunner(source)
  let isTaken = false
  const typing = runner.type(bytes).then(() => {
    isTaken = true
  })
  assert.equal((await runFor(runner, 1)).end, 'stopped')
  assert.equal(isTaken, false, 'it is not taken at once')
  assert.equal((await runFor(runner, 20_000)).end, 'power')
  await typing
})

test('a guest that resets its disk with requests in flight is held while too many of them wait', async () => {
  // Four requests, each to write 4 MiB, then a reset, and so on. The disk never answers.
  const source = `
      la s0, ring; srli s1, s0, 32
      li s2, 0x10001000
      # Descriptors: header, data, status.
      la t0, header; sd t0, 0(s0); li t0, 16 | 1 << 32 | 1 << 48; sd t0, 8(s0)
      li t0, 0x80400000; sd t0, 16(s0); li t0, 0x400000 | 1 << 32 | 2 << 48; sd t0, 24(s0)
      la t0, header; sd t0, 32(s0); li t0, 1 | 2 << 32; sd t0, 40(s0)
      li t0, 4; sh t0, 130(s0)
    again:
      sw zero, 0x70(s2); li t0, 3; sw t0, 0x70(s2)
      li t0, 1; sw t0, 0x24(s2); sw t0, 0x20(s2)
      li t0, 11; sw t0, 0x70(s2)
      li t0, 8; sw t0, 0x38(s2)
      sw s0, 0x80(s2); sw s1, 0x84(s2)
      addi t0, s0, 128; sw t0, 0x90(s2); sw s1, 0x94(s2)
      addi t0, s0, 256; sw t0, 0xa0(s2); sw s1, 0xa4(s2)
      li t0, 1; sw t0, 0x44(s2)
      li t0, 15; sw t0, 0x70(s2); sw zero, 0x50(s2)
      j again
      .align 4
    header: .word 1; .word 0; .dword 0
      .align 12
    ring: .zero 4096`
  let bytes = 0
  const submitDisk: RunnerEnvironment['submitDisk'] = ({ data }) => {
    bytes += data?.length ?? 0
    // Held by now; if it is not, it writes on at hundreds of mebibytes a second.
    if (bytes >= 64 * MIB) setTimeout(() => runner.stop(), 500)
    if (bytes > 256 * MIB) runner.stop()
  }
  const runner = smallRunner(source, { diskSectors: 2 ** 16, environment: () => ({ submitDisk }) })
  await runFor(runner, 30_000)
  assert.ok(bytes >= 64 * MIB, `${bytes} bytes: the guest writes`)
  assert.ok(bytes <= 96 * MIB, `${bytes} bytes`)
})
