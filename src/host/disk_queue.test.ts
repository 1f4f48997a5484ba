import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { DiskQueue, type DiskQueueEvents, type DiskRequest, type QueuedDisk } from './disk_queue.ts'

/** A disk whose requests end when and how the test says. */
class HeldDisk implements QueuedDisk {
  readonly started: { name: string; finish: (error?: Error) => void }[] = []

  async read(sector: number, sectors: number): Promise<Uint8Array> {
    await this.#hold(`read ${sector}+${sectors}`)
    return Uint8Array.of(sector)
  }

  write(sector: number, bytes: Uint8Array): Promise<void> {
    return this.#hold(`write ${sector}+${bytes.length}`)
  }

  discard(sector: number, sectors: number): Promise<void> {
    return this.#hold(`discard ${sector}+${sectors}`)
  }

  zeroes(sector: number, sectors: number): Promise<void> {
    return this.#hold(`zeroes ${sector}+${sectors}`)
  }

  flush(): Promise<void> {
    return this.#hold('flush')
  }

  get names(): string[] {
    return this.started.map((request) => request.name)
  }

  /** Ends a request that has started, and lets everything follow that follows from it. */
  async end(name: string, error?: Error): Promise<void> {
    const at = this.started.findIndex((request) => request.name === name)
    assert.ok(at >= 0, `${name} has not started, but ${this.names}`)
    this.started.splice(at, 1)[0]!.finish(error)
    await settle()
  }

  #hold(name: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.started.push({ name, finish: (error) => (error === undefined ? resolve() : reject(error)) })
    })
  }
}

function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

function systemError(code: string): Error {
  return Object.assign(new Error(code), { code, syscall: 'write' })
}

interface Rig {
  readonly disk: HeldDisk
  readonly queue: DiskQueue
  readonly seen: string[]
  readonly submit: (...requests: DiskRequest[]) => Promise<void>
}

interface RigOptions {
  readonly retryMs?: number
  /** Called while an error holds a request: that errors hold requests is asked for by this. */
  readonly onHeld?: (queue: DiskQueue) => void
}

function rig({ retryMs = 5, onHeld }: RigOptions = {}): Rig {
  const disk = new HeldDisk()
  const seen: string[] = []
  const events: DiskQueueEvents = {
    onDone: (id, status, data) => seen.push(`${id} ${status}${data === undefined ? '' : ` ${data}`}`),
    onFull: (full) => seen.push(`full ${full}`),
    onError: (request, error) => seen.push(`${request.id} failed: ${error.message}`),
    ...(onHeld && {
      onHeld: (request, error) => {
        seen.push(`${request.id} held: ${error.message}`)
        onHeld(queue)
      },
    }),
  }
  const queue = new DiskQueue(disk, events, retryMs)
  const submit = async (...requests: DiskRequest[]): Promise<void> => {
    for (const request of requests) queue.submit(request)
    await settle()
  }
  return { disk, queue, seen, submit }
}

function write(id: number, sector: number, sectors = 1): DiskRequest {
  return { id, kind: 'write', sector, sectors, data: new Uint8Array(sectors) }
}

function read(id: number, sector: number, sectors = 1): DiskRequest {
  return { id, kind: 'read', sector, sectors }
}

function flush(id: number): DiskRequest {
  return { id, kind: 'flush', sector: 0, sectors: 0 }
}

test('requests that do not overlap run side by side and finish in any order', async () => {
  const { disk, seen, submit, queue } = rig()
  await submit(write(1, 0), read(2, 1), write(3, 2), read(4, 1))
  assert.deepEqual(disk.names, ['write 0+1', 'read 1+1', 'write 2+1', 'read 1+1'])
  await disk.end('write 2+1')
  await disk.end('read 1+1')
  assert.deepEqual(seen, ['3 ok', '2 ok 1'])
  assert.equal(queue.length, 2)
})

test('requests that overlap where one changes something run in their order', async () => {
  const { disk, seen, submit } = rig()
  await submit(read(1, 0, 4), write(2, 3, 2), { id: 3, kind: 'discard', sector: 4, sectors: 9 }, read(4, 12))
  assert.deepEqual(disk.names, ['read 0+4'])
  await disk.end('read 0+4')
  await disk.end('write 3+2')
  await disk.end('discard 4+9')
  await disk.end('read 12+1')
  assert.deepEqual(seen, ['1 ok 0', '2 ok', '3 ok', '4 ok 12'])
})

test('a flush waits for earlier writes, and later writes do not wait for it', async () => {
  const { disk, seen, submit } = rig()
  const zeroes: DiskRequest = { id: 3, kind: 'zeroes', sector: 20, sectors: 1 }
  await submit(read(1, 9), write(2, 0), zeroes, flush(4), write(5, 30))
  assert.deepEqual(disk.names, ['read 9+1', 'write 0+1', 'zeroes 20+1', 'write 30+1'])
  await disk.end('write 0+1')
  await disk.end('zeroes 20+1')
  assert.deepEqual(disk.names, ['read 9+1', 'write 30+1', 'flush'])
  await disk.end('flush')
  assert.deepEqual(seen, ['2 ok', '3 ok', '4 ok'])
})

test('a full disk is tried again until there is room, and the guest sees no error', async () => {
  const { disk, seen, submit, queue } = rig()
  await submit(write(1, 0), write(2, 5), write(3, 0))
  await disk.end('write 0+1', systemError('ENOSPC'))
  await disk.end('write 5+1', systemError('EDQUOT'))
  assert.deepEqual(seen, ['full true'])
  while (disk.started.length < 2) await settle()
  await disk.end('write 0+1')
  await disk.end('write 5+1')
  await disk.end('write 0+1')
  assert.deepEqual(seen, ['full true', '1 ok', 'full false', '2 ok', '3 ok'])
  await queue.drain()
})

test('waiting for room can be abandoned', async () => {
  const { disk, seen, submit, queue } = rig({ retryMs: 1 << 30 })
  await submit(write(1, 0))
  await disk.end('write 0+1', systemError('ENOSPC'))
  queue.abandon()
  await settle()
  await disk.end('write 0+1', systemError('ENOSPC'))
  assert.deepEqual(seen, ['full true', 'full false', '1 failed: ENOSPC', '1 error'])
})

test('an I/O error is a status, and what waited goes on', async () => {
  const { disk, seen, submit } = rig()
  await submit(write(1, 0), read(2, 0))
  await disk.end('write 0+1', systemError('EIO'))
  await disk.end('read 0+1')
  assert.deepEqual(seen, ['1 failed: EIO', '1 error', '2 ok 0'])
})

const never = 1 << 30
const untouched = (): void => {}

test('a request that is held is tried again until it works, and what overlaps it waits', async () => {
  const { disk, seen, submit, queue } = rig({ onHeld: untouched })
  await submit(write(1, 0), read(2, 0), read(3, 5), flush(4))
  await disk.end('write 0+1', systemError('EIO'))
  await disk.end('read 5+1')
  for (let round = 0; round < 2; round++) {
    while (disk.started.length === 0) await settle()
    assert.deepEqual(disk.names, ['write 0+1'])
    if (round === 0) await disk.end('write 0+1', systemError('EIO'))
  }
  assert.deepEqual(seen, ['1 held: EIO', '3 ok 5', '1 held: EIO'])
  await disk.end('write 0+1')
  await disk.end('read 0+1')
  await disk.end('flush')
  assert.deepEqual(seen.slice(3), ['1 ok', '2 ok 0', '4 ok'])
  assert.equal(queue.length, 0)
})

test('those that are held fail when the owner says so, and no other', async () => {
  const { disk, seen, submit, queue } = rig({ retryMs: never, onHeld: untouched })
  await submit(write(1, 0), write(2, 5), write(3, 9), read(4, 0))
  await disk.end('write 0+1', systemError('EIO'))
  await disk.end('write 5+1', systemError('ENOSPC'))
  queue.failHeld()
  await settle()
  assert.deepEqual(seen, ['1 held: EIO', 'full true', '1 failed: EIO', '1 error'])
  assert.deepEqual(disk.names, ['write 9+1', 'read 0+1'])
  await disk.end('read 0+1', systemError('EIO'))
  assert.deepEqual(seen.slice(4), ['4 held: EIO'], 'later ones are held again')
  queue.failHeld()
  await settle()
  assert.deepEqual(seen.slice(5), ['4 failed: EIO', '4 error'])
  queue.abandon()
  await settle()
  await disk.end('write 5+1')
})

test('an owner that hears of a held request may let it fail at once', async () => {
  const { disk, seen, submit } = rig({ retryMs: never, onHeld: (queue) => queue.failHeld() })
  await submit(write(1, 0))
  await disk.end('write 0+1', systemError('EIO'))
  assert.deepEqual(seen, ['1 held: EIO', '1 failed: EIO', '1 error'])
})

test('a request may find the disk full, then failing, then full again', async () => {
  const { disk, seen, submit } = rig({ onHeld: untouched })
  await submit(write(1, 0))
  for (const code of ['ENOSPC', 'EIO', 'ENOSPC', 'ENOSPC', undefined]) {
    while (disk.started.length === 0) await settle()
    await disk.end('write 0+1', code === undefined ? undefined : systemError(code))
  }
  assert.deepEqual(seen, ['full true', 'full false', '1 held: EIO', 'full true', 'full false', '1 ok'])
})

test('an abandoned queue tries what is held once more', async () => {
  const { disk, seen, submit, queue } = rig({ retryMs: never, onHeld: untouched })
  await submit(write(1, 0), write(2, 5), read(3, 5))
  await disk.end('write 0+1', systemError('EIO'))
  await disk.end('write 5+1', systemError('EIO'))
  queue.abandon()
  await settle()
  await disk.end('write 0+1')
  await disk.end('write 5+1', systemError('EIO'))
  await disk.end('read 5+1', systemError('EIO'))
  assert.deepEqual(seen.slice(2), ['1 ok', '2 failed: EIO', '2 error', '3 failed: EIO', '3 error'])
  await queue.drain()
})

test('however requests are timed, each read sees exactly the writes before it', async () => {
  const request = fc.record({
    kind: fc.constantFrom('read', 'write', 'discard', 'flush'),
    sector: fc.nat(9),
    sectors: fc.integer({ min: 1, max: 4 }),
    turns: fc.nat(6),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(request, { maxLength: 25 }), async (requests) => {
      const [inOrder, stored] = [new Uint8Array(13), new Uint8Array(13)]
      const wait = async (id: number): Promise<void> => {
        for (let i = 0; i < requests[id]!.turns; i++) await settle()
      }
      const expected = new Map<number, Uint8Array>()
      const found = new Map<number, Uint8Array | undefined>()
      let next = 0
      // A write's bytes are its id + 1.
      const disk: QueuedDisk = {
        read: async (sector, sectors) => {
          await settle()
          return stored.slice(sector, sector + sectors)
        },
        write: async (sector, bytes) => {
          await wait(bytes[0]! - 1)
          stored.set(bytes, sector)
        },
        discard: async (sector, sectors) => {
          await settle()
          stored.fill(0, sector, sector + sectors)
        },
        zeroes: async () => assert.fail('no such request here'),
        flush: settle,
      }
      const queue = new DiskQueue(disk, {
        onDone: (id, status, data) => {
          assert.equal(status, 'ok')
          found.set(id, data)
          if (requests[id]!.kind !== 'flush') return
          for (let earlier = 0; earlier < id; earlier++) {
            assert.ok(found.has(earlier) || ['read', 'flush'].includes(requests[earlier]!.kind))
          }
        },
        onFull: () => assert.fail('full'),
        onError: () => assert.fail('failed'),
      })
      for (const { kind, sector, sectors } of requests) {
        const id = next++
        const data = new Uint8Array(sectors).fill(id + 1)
        if (kind === 'read') expected.set(id, inOrder.slice(sector, sector + sectors))
        if (kind === 'write') inOrder.set(data, sector)
        if (kind === 'discard') inOrder.fill(0, sector, sector + sectors)
        queue.submit({
          id,
          kind: kind as DiskRequest['kind'],
          sector,
          sectors,
          ...(kind === 'write' && { data }),
        })
      }
      await queue.drain()
      assert.equal(found.size, requests.length)
      for (const [id, bytes] of expected) assert.deepEqual(found.get(id), bytes)
      assert.deepEqual(stored, inOrder)
    }),
    { numRuns: 60 },
  )
})
