/**
 * Random register accesses, ring contents and outside events against all devices at once, by seed. Nothing
 * may throw or leave RAM (the test's RAM asserts that), one access does bounded work, and a board that was
 * saved and loaded in the middle does from there on exactly what the original does.
 *
 *     FUZZ_SEED=7 FUZZ_OPERATIONS=1000000 node --test src/devices/fuzz.test.ts
 */
import assert from 'node:assert/strict'
import { env } from 'node:process'
import { test } from 'node:test'
import { TestBoard } from './testing/board.ts'
import { INDIRECT, NEXT, TestQueue, WRITE } from './testing/driver.ts'
import { RAM_BASE } from './testing/ram.ts'
import { FEATURE_VERSION_1 } from './virtio_mmio.ts'

const SEED = Number(env['FUZZ_SEED'] ?? 20_260_101)
const OPERATIONS = Number(env['FUZZ_OPERATIONS'] ?? 100_000)
const BETWEEN_COPIES = 500
/** 256 chains of the longest frames, or 24 MiB of disk data read and written, and as much again. */
const WORK_MAX = 64 * 1024 * 1024

const RAM_BYTES = 0x8_0000
const DATA = RAM_BASE + 0x2_0000
const QUEUE_SIZES = [4, 8, 16]

type Operation = (board: TestBoard) => unknown

/** Random choices by seed (xorshift32). */
class Dice {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0 || 1
  }

  u32(): number {
    let state = this.#state
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    this.#state = state
    return state >>> 0
  }

  /** 0 to `bound` - 1. */
  below(bound: number): number {
    return Math.floor((this.u32() / 2 ** 32) * bound)
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.u32())
  }
}

const VALUES = [
  0,
  1,
  2,
  3,
  4,
  7,
  8,
  0x0b,
  0x0f,
  0x1a,
  0x40,
  0x80,
  0xff,
  0x5555,
  0x7777,
  0xffff_ffff,
  RAM_BASE,
]
const VIRTIO_OFFSETS = [0x10, 0x14, 0x20, 0x24, 0x30, 0x34, 0x38, 0x44, 0x50, 0x60, 0x64, 0x70, 0x80, 0x84]
const PLIC_OFFSETS = [
  4, 0x28, 0x2c, 0x1000, 0x2000, 0x2080, 0x2100, 0x20_0000, 0x20_0004, 0x20_1000, 0x20_1004,
]
const OFFSETS: readonly (readonly number[])[] = [
  PLIC_OFFSETS,
  [0, 4, 8, 0x4000, 0x4004, 0x4008, 0xbff8, 0xbffc],
  [0],
  [0, 1, 2, 3, 4, 5, 6, 7],
  [0, 4, 8, 0xc, 0x10, 0x14, 0x18, 0x1c],
]

/** One register access of any device, mostly where there is something. */
function access(dice: Dice): Operation {
  const index = dice.below(9)
  const size = dice.pick([1, 4, 4, 4, 2] as const)
  const known = OFFSETS[index] ?? VIRTIO_OFFSETS
  const offset = dice.below(4) > 0 ? dice.pick(known) : dice.below(0x400) * 4
  const value = dice.below(3) > 0 ? dice.pick(VALUES) : dice.u32()
  const aligned = offset - (offset % size)
  if (dice.below(2) === 0) return (board) => board.devices[index]!.read(aligned, size)
  // A reset by chance would leave little time for anything else.
  if (index > 4 && aligned === 0x70 && dice.below(20) > 0)
    return (board) => board.devices[index]!.read(0x70, 4)
  return (board) => board.devices[index]!.write(aligned, size, value)
}

/** A driver's view of a queue, with the size that the device was told, unless the fuzz has spoilt that. */
function queueOf(board: TestBoard, device: number, index: number): TestQueue {
  const chip = board.virtio[device]!
  const size = index < (device === 0 || device === 3 ? 1 : 2) ? chip.queue(index).size : 0
  return new TestQueue(board.ram, chip, index, QUEUE_SIZES.includes(size) ? size : 8)
}

/**
 * Resets a virtio device and brings it up, mostly properly. Both of a device's queues share RAM with the
 * others'.
 */
function start(dice: Dice): Operation {
  const device = dice.below(4)
  const size = dice.pick(QUEUE_SIZES)
  const low = dice.pick([0, 1 << 28, 1 << 29, 3 << 28])
  const own = dice.below(3) > 0
  return (board) => {
    const chip = board.virtio[device]!
    chip.write(0x70, 4, 0)
    chip.write(0x70, 4, 3)
    chip.write(0x14, 4, 0)
    const offered = own ? chip.read(0x10, 4) & 0x0fff_ffff : 0
    chip.write(0x24, 4, 0)
    chip.write(0x20, 4, (low | offered) >>> 0)
    chip.write(0x24, 4, FEATURE_VERSION_1 / 32)
    chip.write(0x20, 4, 1)
    chip.write(0x70, 4, 8)
    for (const index of [0, 1]) {
      const queue = new TestQueue(board.ram, chip, index, size)
      board.ram.store32(queue.available, 0)
      queue.enable()
    }
    chip.write(0x70, 4, 4)
  }
}

/** A descriptor of any kind. */
function descriptor(dice: Dice) {
  const address = dice.pick<() => number | bigint>([
    () => DATA + dice.below(RAM_BYTES - 0x3_0000),
    () => RAM_BASE + dice.below(RAM_BYTES),
    () => RAM_BASE + RAM_BYTES - dice.below(64),
    () => (BigInt(dice.u32()) << 32n) | BigInt(dice.u32()),
  ])()
  const length = dice.pick([0, 1, 12, 16, 32, 48, 512, 513, 1024, 4096, 0x1_0000, 0xffff_ffff])
  const flags = dice.pick([0, NEXT, WRITE, NEXT | WRITE, INDIRECT, INDIRECT | NEXT, 7, 0xffff])
  return { address, length, flags, next: dice.below(18) }
}

/** Writes one descriptor anywhere in a table and offers some head. */
function scribble(dice: Dice): Operation {
  const [device, index] = [dice.below(4), dice.below(2)]
  const entry = descriptor(dice)
  const [slot, head, jump] = [dice.below(16), dice.below(17), dice.below(50)]
  return (board) => {
    const queue = queueOf(board, device, index)
    queue.describe(slot, entry)
    queue.offer(head)
    if (jump === 0) board.ram.store16(queue.available + 2, entry.length & 0xffff)
    queue.notify()
  }
}

/**
 * Offers a chain that a device can serve: header, something readable, something writable; direct or indirect.
 */
function offer(dice: Dice): Operation {
  const [device, index] = [dice.below(4), dice.below(2)]
  const type = dice.pick([0, 0, 1, 1, 4, 8, 11, 13, 99])
  const sector = dice.below(5000)
  const at = DATA + 0x1000 * dice.below(0x40)
  const readable = dice.pick([0, 16, 60, 512, 1024])
  const writable = dice.pick([0, 1, 20, 512, 2048])
  const table = dice.below(3) === 0 ? at + 0xf00 : undefined
  const silent = dice.below(4) === 0
  return (board) => {
    const queue = queueOf(board, device, index)
    board.ram.store32(at, type)
    board.ram.store64(at + 8, BigInt(sector))
    const parts = [{ address: at, length: 16 }]
    if (readable > 0) parts.push({ address: at + 16, length: readable })
    const room = writable > 0 ? [{ address: at + 0x600, length: writable, flags: WRITE }] : []
    const status = device === 0 ? [{ address: at + 0xe80, length: 1, flags: WRITE }] : []
    // Receive queues and entropy have nothing to read.
    const chain = [...(device > 0 && index === 0 ? [] : parts), ...room, ...status]
    if (chain.length === 0) return
    queue.chain(0, chain, table)
    if (table !== undefined) queue.chain(0, [{ address: table, length: 16 * chain.length, flags: INDIRECT }])
    queue.offer(0)
    if (!silent) queue.notify()
  }
}

/** Something that happens outside. */
function event(dice: Dice): Operation {
  const bytes = dice.bytes(dice.pick([1, 13, 14, 60, 300, 2000]))
  const choice = dice.u32()
  return dice.pick<Operation>([
    (board) => board.uart.receive(bytes),
    (board) => board.net.receive(bytes),
    (board) => board.console.receive(bytes),
    (board) => board.entropy.supply(bytes),
    (board) => board.net.setLink((choice & 15) !== 0),
    (board) => board.console.resize(choice & 0xff, (choice >>> 8) & 0xff),
    (board) => board.rtc.setOffset(BigInt(choice) * 1_000_000n),
    (board) => advance(board, BigInt(choice >>> 12)),
    (board) => complete(board, choice),
    (board) => complete(board, choice),
    (board) => complete(board, choice),
  ])
}

function advance(board: TestBoard, ticks: bigint): void {
  const alarm = board.rtc.alarmTicks()
  board.ticks = alarm !== undefined && alarm < board.ticks + ticks ? alarm : board.ticks + ticks
  if (alarm === board.ticks) board.rtc.checkAlarm()
}

function complete(board: TestBoard, choice: number): void {
  const requests = board.block.inFlight()
  const request = requests[choice % Math.max(requests.length, 1)]
  if (request === undefined) {
    assert.equal(board.block.complete(choice, 'ok'), false)
  } else if ((choice >>> 16) % 8 === 0) {
    board.block.complete(request.id, 'error')
  } else if (request.kind === 'read') {
    board.block.complete(request.id, 'ok', new Uint8Array(request.sectors * 512).fill(choice))
  } else {
    board.block.complete(request.id, 'ok')
  }
}

function resetDevice(dice: Dice): Operation {
  const index = dice.below(9)
  return (board) => board.devices[index]!.reset()
}

function operation(dice: Dice): Operation {
  const roll = dice.below(200)
  if (roll < 70) return access(dice)
  if (roll < 120) return offer(dice)
  if (roll < 185) return event(dice)
  if (roll < 191) return scribble(dice)
  return roll < 199 ? start(dice) : resetDevice(dice)
}

/** Runs operations on a board and notes what each returns. */
function run(board: TestBoard, operations: readonly Operation[]): void {
  for (const apply of operations) {
    const before = board.ram.bytesTouched
    const result = apply(board)
    if (result !== undefined) board.trace.push(`= ${String(result)}`)
    assert.ok(board.ram.bytesTouched - before < WORK_MAX, 'an operation touched too much memory')
  }
}

test('random accesses harm nothing, and saving and loading in the middle changes nothing', (context) => {
  context.diagnostic(`seed ${SEED}, ${OPERATIONS} operations`)
  const dice = new Dice(SEED)
  let board = new TestBoard()
  const seen = new Map<string, number>()
  for (let done = 0; done < OPERATIONS; done += BETWEEN_COPIES) {
    const operations = Array.from({ length: BETWEEN_COPIES }, () => operation(dice))
    const copy = board.copy()
    assert.deepEqual(copy.states(), board.states(), `a state changed by loading at operation ${done}`)
    board.trace = []
    run(board, operations)
    run(copy, operations)
    const where = `a loaded board differs within operations ${done} to ${done + BETWEEN_COPIES}`
    assert.deepEqual(copy.trace, board.trace, where)
    assert.ok(Buffer.compare(copy.ram.bytes, board.ram.bytes) === 0, where)
    assert.deepEqual(copy.states(), board.states(), where)
    for (const line of board.trace) {
      const kind = line.split(' ', 1)[0]!
      seen.set(kind, (seen.get(kind) ?? 0) + 1)
    }
    board = copy
  }
  context.diagnostic([...seen].map(([kind, count]) => `${kind} ${count}`).join(', '))
  for (const kind of ['uart', 'disk', 'frame', 'console', 'entropy', 'hart', 'software', 'timer']) {
    assert.ok((seen.get(kind) ?? 0) > 0, `the operations never made '${kind}' happen`)
  }
})
