import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Random } from '../src/base/prng.ts'
import { StateReader, StateWriter } from '../src/base/state.ts'
import { type DiskRequest, PORT } from './machine_ports.ts'
import { ToyMachine } from './toy_machine.ts'
import { DISK_BYTES, decodeAnswer, encodeRequest, recoverRecord } from './toy_service.ts'

/** A machine with a disk that answers at once, driven up to given positions. */
class Bench {
  machine: ToyMachine
  readonly disk = new Uint8Array(DISK_BYTES)
  readonly outputs: string[] = []

  constructor(machine: ToyMachine) {
    this.machine = machine
  }

  run(limit: number): void {
    const { machine } = this
    while (machine.position < limit && !machine.isIdle) {
      machine.run(limit)
      for (const { port, ordinal, bytes, position } of machine.takeOutputs()) {
        const answer = port === PORT.net ? JSON.stringify(decodeAnswer(bytes)) : ''
        this.outputs.push(`${port}:${ordinal} at ${position} ${answer}`)
      }
      for (const request of machine.takeRequests()) this.#carryOut(request)
    }
  }

  #carryOut({ kind, number, offset, length, bytes }: DiskRequest): void {
    if (kind === 'write') this.disk.set(bytes, offset)
    const data = kind === 'read' ? this.disk.slice(offset, offset + length) : undefined
    this.machine.complete(number, 'ok', data)
  }
}

function put(key: number, value: number): Uint8Array {
  return encodeRequest({ client: 1, operation: value, kind: 'put', key, value, expected: 0 })
}

function boot(): Bench {
  return new Bench(ToyMachine.boot(new Uint8Array(DISK_BYTES), 1))
}

test('an acknowledged write is on the disk, and is there after the next boot', () => {
  const bench = boot()
  bench.run(100)
  bench.machine.input(PORT.net, put(2, 77))
  bench.run(1000)
  assert.match(bench.outputs.at(-1)!, /"operation":77,"status":"done"/)
  assert.equal(recoverRecord(bench.disk, 2).value, 77)
  const again = new Bench(ToyMachine.boot(bench.disk, 2))
  again.run(100)
  again.machine.input(
    PORT.net,
    encodeRequest({ client: 1, operation: 1, kind: 'get', key: 2, value: 0, expected: 0 }),
  )
  again.run(1000)
  assert.match(again.outputs.at(-1)!, /"value":77/)
})

test('cutting a run anywhere changes nothing', () => {
  const whole = boot()
  whole.run(100)
  whole.machine.input(PORT.net, put(1, 5))
  whole.run(2000)
  const random = new Random(1)
  const cut = boot()
  cut.run(100)
  cut.machine.input(PORT.net, put(1, 5))
  while (!cut.machine.isIdle) cut.run(cut.machine.position + random.between(1, 3))
  assert.deepEqual(cut.outputs, whole.outputs)
  assert.equal(cut.machine.stateDigest(), whole.machine.stateDigest())
})

test('an event at another position is another machine', () => {
  const digest = (limit: number) => {
    const bench = boot()
    bench.run(limit)
    bench.machine.input(PORT.net, put(1, 5))
    bench.run(300)
    return bench.machine.digest()
  }
  assert.notEqual(digest(20), digest(21))
})

test('a snapshot goes on as the original does, with requests in flight', () => {
  const bench = boot()
  bench.run(100)
  bench.machine.input(PORT.net, put(1, 5))
  bench.machine.input(PORT.net, put(2, 6))
  while (bench.machine.pending.size === 0) bench.machine.run(bench.machine.position + 1)
  const writer = new StateWriter()
  bench.machine.save(writer)
  const reader = new StateReader(writer.finish())
  const copy = ToyMachine.load(reader)
  reader.finish()
  assert.equal(copy.stateDigest(), bench.machine.stateDigest())
  for (const machine of [copy, bench.machine]) {
    for (const number of [...machine.pending.keys()]) machine.complete(number, 'ok', undefined)
    machine.takeRequests()
    machine.run(machine.position + 1000)
  }
  assert.equal(copy.position, bench.machine.position)
  assert.equal(copy.stateDigest(), bench.machine.stateDigest())
})

test('a flipped bit is invisible to the digest and found by reading the page again', () => {
  const { machine } = boot()
  const before = machine.digest()
  machine.corrupt(5 * 256 * 8)
  assert.equal(machine.digest(), before)
  assert.deepEqual(machine.reread(4, 2), { corruptPage: 5 })
})
