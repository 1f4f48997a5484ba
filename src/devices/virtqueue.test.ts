import assert from 'node:assert/strict'
import { beforeEach, describe, test } from 'node:test'
import { INDIRECT, NEXT, startDevice, TestQueue, takeInterrupts, WRITE } from './testing/driver.ts'
import { RAM_BASE, TestRam } from './testing/ram.ts'
import { restore, stateOf } from './testing/state.ts'
import {
  FEATURE_EVENT_INDEX,
  FEATURE_INDIRECT,
  FEATURE_VERSION_1,
  VirtioMmio,
  type VirtioTransport,
} from './virtio_mmio.ts'
import { type Chain, gather, scatter, Virtqueue } from './virtqueue.ts'

const RAM_BYTES = 0x4_0000
const DATA = RAM_BASE + 0x2_0000
const RAM_END = RAM_BASE + RAM_BYTES
const SIZE = 8
const ALL = [FEATURE_VERSION_1, FEATURE_INDIRECT, FEATURE_EVENT_INDEX]

/** A function with one queue that takes every chain and keeps it. */
class Collector {
  readonly deviceId = 63
  readonly features = 0n
  readonly queueSizes = [SIZE, SIZE]
  chains: Chain[] = []
  transport!: VirtioTransport
  attach(transport: VirtioTransport): void {
    this.transport = transport
  }
  config(): Uint8Array {
    return new Uint8Array(0)
  }
  notified(index: number): void {
    for (;;) {
      const chain = this.transport.queue(index).take()
      if (chain === undefined) return
      this.chains.push(chain)
    }
  }
  reset(): void {}
  save(): void {}
  load(): void {}
}

let ram: TestRam
let collector: Collector
let device: VirtioMmio
let queue: TestQueue

function start(features: readonly number[] = ALL): void {
  queue = startDevice(ram, device, features, [SIZE, SIZE])[0]!
}

beforeEach(() => {
  ram = new TestRam(RAM_BYTES)
  collector = new Collector()
  device = new VirtioMmio({ name: 'test', memory: ram, line: () => {}, function: collector })
  start()
})

describe('a well-behaved driver', () => {
  test('sees its chains taken in order, with adjacent and indirect descriptors alike', () => {
    queue.chain(0, [
      { address: DATA, length: 4 },
      { address: DATA + 16, length: 0 },
      { address: DATA + 8, length: 2, flags: WRITE },
    ])
    queue.chain(
      0,
      [
        { address: DATA + 1, length: 3 },
        { address: DATA, length: 9, flags: WRITE },
      ],
      DATA + 100,
    )
    queue.chain(3, [
      { address: DATA + 50, length: 1 },
      { address: DATA + 100, length: 32, flags: INDIRECT },
    ])
    queue.offer(3)
    queue.offer(0)
    queue.notify()
    assert.deepEqual(
      collector.chains.map(({ head, readable, writable }) => ({ head, readable, writable })),
      [
        {
          head: 3,
          readable: [
            { address: DATA + 50, length: 1 },
            { address: DATA + 1, length: 3 },
          ],
          writable: [{ address: DATA, length: 9 }],
        },
        {
          head: 0,
          readable: [{ address: DATA, length: 4 }],
          writable: [{ address: DATA + 8, length: 2 }],
        },
      ],
    )
    collector.transport.queue(0).giveBack([
      { head: 3, written: 7 },
      { head: 0, written: 0 },
    ])
    assert.deepEqual(queue.collect(), [
      [3, 7],
      [0, 0],
    ])
  })

  test('can go round the ring and over the end of the 16-bit indexes', () => {
    start([FEATURE_VERSION_1])
    queue.chain(5, [{ address: DATA, length: 1 }])
    for (let round = 0; round < 0x1_0010; round++) {
      queue.offer(5)
      queue.notify()
      collector.transport.queue(0).giveBack([{ head: 5, written: 0 }])
      collector.chains.length = 0
    }
    assert.equal(ram.load16(queue.used + 2), 0x10)
    assert.equal(device.read(0x070, 4) & 0x40, 0)
  })

  test('suppresses interrupts by the flag, without event indexes', () => {
    start([FEATURE_VERSION_1])
    ram.store16(queue.available, 1)
    for (const expected of [0, 1]) {
      queue.chain(0, [{ address: DATA, length: 1 }])
      queue.offer(0)
      queue.notify()
      collector.transport.queue(0).giveBack([{ head: 0, written: 0 }])
      assert.equal(takeInterrupts(device), expected)
      ram.store16(queue.available, 0)
    }
  })

  test('is interrupted exactly when the used index passes its event index', () => {
    const usedEvent = queue.available + 4 + 2 * SIZE
    queue.chain(0, [{ address: DATA, length: 1 }])
    ram.store16(usedEvent, 2)
    const interrupts = [0, 1, 2, 3].map(() => {
      queue.offer(0)
      queue.notify()
      collector.transport.queue(0).giveBack([{ head: 0, written: 0 }])
      return takeInterrupts(device)
    })
    assert.deepEqual(interrupts, [0, 0, 1, 0])
  })

  test('learns from the available event which entry to notify of, once the ring is empty', () => {
    const availableEvent = queue.used + 4 + 8 * SIZE
    queue.chain(0, [{ address: DATA, length: 1 }])
    queue.offer(0)
    queue.notify()
    assert.equal(ram.load16(availableEvent), 1)
  })

  test('may place a ring without event words at the very end of RAM', () => {
    device.write(0x070, 4, 0)
    for (const feature of [false, true]) {
      device.write(0x070, 4, 0)
      device.write(0x070, 4, 3)
      device.write(0x024, 4, 0)
      device.write(0x020, 4, feature ? 1 << FEATURE_EVENT_INDEX : 0)
      device.write(0x024, 4, 1)
      device.write(0x020, 4, 1)
      device.write(0x070, 4, 8)
      device.write(0x038, 4, SIZE)
      device.write(0x080, 4, RAM_BASE)
      device.write(0x090, 4, RAM_BASE + 0x1000)
      device.write(0x0a0, 4, RAM_END - 4 - 8 * SIZE)
      device.write(0x044, 4, 1)
      assert.equal(device.read(0x044, 4), feature ? 0 : 1)
    }
  })
})

test('chains put back are taken again', () => {
  queue.chain(0, [{ address: DATA, length: 1 }])
  queue.offer(0)
  queue.notify()
  collector.transport.queue(0).putBack(1)
  queue.notify()
  assert.equal(collector.chains.length, 2)
})

test('a stopped queue touches memory no more, and stays stopped until reset', () => {
  queue.chain(0, [{ address: DATA, length: 1 }])
  queue.offer(0)
  queue.notify()
  device.write(0x030, 4, 0)
  device.write(0x044, 4, 0)
  assert.equal(device.read(0x044, 4), 0)
  queue.offer(0)
  const before = ram.bytes.slice()
  collector.transport.queue(0).giveBack([{ head: 0, written: 0 }])
  queue.notify()
  queue.enable()
  assert.equal(device.read(0x044, 4), 0)
  assert.deepEqual(ram.bytes, before)
  assert.equal(collector.chains.length, 1)
})

test('a restored queue holds the same chains', () => {
  queue.chain(0, [{ address: DATA, length: 1 }])
  queue.offer(0)
  queue.notify()
  const other = new Collector()
  const copy = new VirtioMmio({ name: 'test', memory: ram, line: () => {}, function: other })
  restore(copy, stateOf(device))
  other.transport.queue(0).giveBack([{ head: 0, written: 5 }])
  assert.deepEqual(queue.collect(), [[0, 5]])
  assert.throws(() => other.transport.queue(0).giveBack([{ head: 0, written: 5 }]), /more chains given back/)
})

test('a state with a ready queue outside RAM is refused', () => {
  const other = new Collector()
  const small = new TestRam(0x100)
  const copy = new VirtioMmio({ name: 'test', memory: small, line: () => {}, function: other })
  assert.throws(() => restore(copy, stateOf(device)), /queue\[0\] lies outside RAM/)
})

test('gather and scatter cross segment borders and stop at the end', () => {
  const segments = [
    { address: DATA, length: 3 },
    { address: DATA + 10, length: 2 },
  ]
  scatter(ram, segments, 1, Uint8Array.of(1, 2, 3, 4, 5, 6))
  assert.deepEqual([...ram.bytes.subarray(0x2_0000, 0x2_000d)], [0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3, 4, 0])
  assert.deepEqual([...gather(ram, segments, 2, 100)], [2, 3, 4])
  assert.deepEqual([...gather(ram, segments, 9, 100)], [])
})

describe('a hostile driver only gets NEEDS_RESET:', () => {
  const one = { address: DATA, length: 4 }
  const hostile: [string, () => void][] = [
    ['a descriptor outside RAM', () => queue.chain(0, [{ address: 0x1000, length: 4 }])],
    [
      'a descriptor that begins in RAM and ends outside',
      () => queue.chain(0, [{ address: RAM_END - 2, length: 4 }]),
    ],
    [
      'a descriptor at the end of the address space',
      () => queue.chain(0, [{ address: 2n ** 64n - 2n, length: 4 }]),
    ],
    ['a descriptor above 2^53', () => queue.chain(0, [{ address: 2n ** 53n + 1n, length: 0xffff_ffff }])],
    ['a loop of one', () => queue.describe(0, { ...one, flags: NEXT, next: 0 })],
    [
      'a loop of two',
      () => {
        queue.describe(0, { ...one, flags: NEXT, next: 1 })
        queue.describe(1, { ...one, flags: NEXT, next: 0 })
      },
    ],
    [
      'a loop of empty descriptors',
      () => queue.describe(0, { address: DATA, length: 0, flags: NEXT, next: 0 }),
    ],
    ['a next index outside the table', () => queue.describe(0, { ...one, flags: NEXT, next: SIZE })],
    ['a readable descriptor after a writable one', () => queue.chain(0, [{ ...one, flags: WRITE }, one])],
    ['an indirect table of no bytes', () => queue.chain(0, [{ address: DATA, length: 0, flags: INDIRECT }])],
    [
      'an indirect table of an odd size',
      () => queue.chain(0, [{ address: DATA, length: 17, flags: INDIRECT }]),
    ],
    [
      'an indirect table outside RAM',
      () => queue.chain(0, [{ address: RAM_END - 8, length: 16, flags: INDIRECT }]),
    ],
    [
      'an indirect table longer than the queue',
      () => {
        queue.describe(0, one, DATA)
        queue.chain(0, [{ address: DATA, length: 16 * (SIZE + 1), flags: INDIRECT }])
      },
    ],
    [
      'an indirect table that goes on directly',
      () => {
        queue.describe(0, one, DATA)
        queue.describe(1, one)
        queue.describe(0, { address: DATA, length: 16, flags: INDIRECT | NEXT, next: 1 })
      },
    ],
    [
      'an indirect table in an indirect table',
      () => {
        queue.describe(0, { address: DATA, length: 16, flags: INDIRECT }, DATA)
        queue.chain(0, [{ address: DATA, length: 16, flags: INDIRECT }])
      },
    ],
    [
      'a loop in an indirect table',
      () => {
        queue.describe(0, { ...one, flags: NEXT, next: 0 }, DATA)
        queue.chain(0, [{ address: DATA, length: 16, flags: INDIRECT }])
      },
    ],
    [
      'a next index outside the indirect table',
      () => {
        queue.describe(0, { ...one, flags: NEXT, next: 1 }, DATA)
        queue.chain(0, [{ address: DATA, length: 16, flags: INDIRECT }])
      },
    ],
    [
      'a chain longer than the queue, part of it indirect',
      () => {
        queue.chain(
          0,
          Array.from({ length: SIZE }, () => one),
          DATA,
        )
        queue.chain(0, [one, { address: DATA, length: 16 * SIZE, flags: INDIRECT }])
      },
    ],
  ]
  for (const [name, setUp] of hostile) {
    test(name, () => {
      setUp()
      queue.offer(0)
      const before = ram.bytes.slice()
      queue.notify()
      assert.equal(device.read(0x070, 4) & 0x40, 0x40)
      assert.equal(takeInterrupts(device), 2, 'a configuration interrupt')
      assert.deepEqual(collector.chains, [])
      queue.notify()
      assert.deepEqual(ram.bytes, before)
      ram.store32(queue.available, 0)
      start()
      queue.chain(0, [one])
      queue.offer(0)
      queue.notify()
      assert.equal(collector.chains.length, 1, 'a reset heals it')
    })
  }

  test('an indirect descriptor that was not negotiated', () => {
    start([FEATURE_VERSION_1])
    queue.describe(0, one, DATA)
    queue.chain(0, [{ address: DATA, length: 16, flags: INDIRECT }])
    queue.offer(0)
    queue.notify()
    assert.equal(device.read(0x070, 4) & 0x40, 0x40)
  })

  test('a head outside the table', () => {
    queue.offer(SIZE)
    queue.notify()
    assert.equal(device.read(0x070, 4) & 0x40, 0x40)
  })

  test('an available index more than the queue size ahead', () => {
    queue.chain(0, [one])
    ram.store16(queue.available + 2, SIZE + 1)
    queue.notify()
    assert.equal(device.read(0x070, 4) & 0x40, 0x40)
    assert.deepEqual(collector.chains, [])
  })

  test('more chains at once than the queue has entries', () => {
    queue.chain(0, [one])
    for (let count = 0; count <= SIZE; count++) {
      assert.equal(device.read(0x070, 4) & 0x40, 0)
      queue.offer(0)
      queue.notify()
    }
    assert.equal(device.read(0x070, 4) & 0x40, 0x40)
    assert.equal(collector.chains.length, SIZE)
  })

  test('one broken queue stops the others too', () => {
    const second = new TestQueue(ram, device, 1, SIZE)
    second.chain(0, [one])
    second.offer(0)
    second.notify()
    queue.offer(SIZE)
    queue.notify()
    const before = ram.bytes.slice()
    collector.transport.queue(1).giveBack([{ head: 0, written: 0 }])
    assert.deepEqual(ram.bytes, before)
  })

  test('a used ring laid over the available ring, so that each chain given back makes another', () => {
    const memory = new TestRam(0x100)
    let faults = 0
    const features = () => ({ indirect: false, eventIndex: false })
    const fault = () => faults++
    const overlaid = new Virtqueue(1, memory, features, () => {}, fault)
    overlaid.size = 1
    overlaid.descriptors = BigInt(RAM_BASE)
    overlaid.used = BigInt(RAM_BASE + 0x20)
    // The length in the used ring's only entry is the available index, then the only available entry.
    overlaid.available = BigInt(RAM_BASE + 0x26)
    memory.store16(RAM_BASE + 0x28, 1)
    overlaid.enable()
    let taken = 0
    for (const { head } of overlaid.takeAll()) {
      taken++
      overlaid.giveBack([{ head, written: taken + 1 }])
    }
    assert.equal(taken, 1)
    assert.equal(faults, 1)
  })

  const misplaced: [string, (write: (offset: number, value: number) => void) => void][] = [
    ['a size of zero', (write) => write(0x038, 0)],
    ['a size that is no power of two', (write) => write(0x038, 6)],
    ['a size above the maximum', (write) => write(0x038, 2 * SIZE)],
    ['a huge size', (write) => write(0x038, 0x8000_0000)],
    ['descriptors outside RAM', (write) => write(0x080, 0x1000)],
    ['unaligned descriptors', (write) => write(0x080, RAM_BASE + 8)],
    ['an available ring outside RAM', (write) => write(0x090, RAM_END - 4)],
    ['an unaligned available ring', (write) => write(0x090, RAM_BASE + 0x4001)],
    ['a used ring outside RAM', (write) => write(0x0a0, RAM_END - 8)],
    ['an unaligned used ring', (write) => write(0x0a0, RAM_BASE + 0x8002)],
    ['a used ring above 2^53', (write) => write(0x0a4, 0xffff_ffff)],
  ]
  for (const [name, misplace] of misplaced) {
    test(name, () => {
      device.write(0x070, 4, 0)
      device.write(0x070, 4, 3)
      device.write(0x024, 4, 1)
      device.write(0x020, 4, 1)
      device.write(0x070, 4, 8)
      device.write(0x038, 4, SIZE)
      device.write(0x080, 4, RAM_BASE)
      device.write(0x090, 4, RAM_BASE + 0x4000)
      device.write(0x0a0, 4, RAM_BASE + 0x8000)
      misplace((offset, value) => device.write(offset, 4, value))
      device.write(0x044, 4, 1)
      assert.equal(device.read(0x044, 4), 0)
      assert.equal(device.read(0x070, 4), 0x4b)
      device.write(0x070, 4, 4)
      device.write(0x050, 4, 0)
      assert.deepEqual(collector.chains, [])
    })
  }
})
