import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PORT } from '../../board/computer.ts'
import { EVIDENCE_BYTES_MAX } from '../../board/evidence.ts'
import { KERNEL_ADDRESS, smallComputer } from '../../board/testing/small_computer.ts'
import { nodeEngine } from '../../host/engine.ts'
import { BatchDecoder } from '../../log/batch.ts'
import { PAGE_BYTES, RAM_BASE } from '../../machine/layout.ts'
import { MAX_EVIDENCE_BYTES } from '../../replication/message_codec.ts'
import { BackupRun } from './backup_run.ts'
import { PrimaryRun } from './primary_run.ts'
import type { MachineReport } from './thread_messages.ts'

const computer = () => smallComputer(nodeEngine, 'again: addi a0, a0, 1; j again')

test('a backup that hears of the end of a disk request that it never made has diverged', () => {
  const reports: MachineReport[] = []
  const machine = computer()
  const { position } = machine
  const run = new BackupRun(machine, { nextIndex: 3n, position }, (report) => reports.push(report))
  const place = { index: 3n, position: position + 1000n }
  run.feed([{ kind: 'completion', ...place, request: 7, status: 'ok', digest: undefined }])
  run.turn()
  const [report] = reports
  assert.ok(report?.kind === 'diverged' && report.index === 3n, 'diverged')
  assert.match(report.report, /^disk request 7: the primary has it done, this copy never made it \(position/)
})

test('no state is taken while the disk works on what the guest has forgotten before the machine was taken over', () => {
  const machine = computer()
  const { position } = machine
  const ports = { report: () => {}, hasCommands: () => false, flushMs: 1 }
  const run = new PrimaryRun(machine, { life: 1, nextIndex: 3n, position }, ports)
  const request = { id: 7, kind: 'write', sector: 0, sectors: 1, data: new Uint8Array(512) } as const
  run.carryOn({ outputs: [], submitted: new Map([[7, request]]), done: new Map(), isOff: false })
  run.takeSnapshot(1)
  assert.equal(run.readySnapshots(), undefined)
  run.diskDone(7, 'ok', undefined)
  assert.deepEqual(run.readySnapshots()?.joins, [1])
})

test('each digest that is asked for at once is made, also of requests that come together', () => {
  const machine = computer()
  const kinds: string[] = []
  const indexes: (bigint | undefined)[] = []
  const decoder = new BatchDecoder('test')
  const report = (said: MachineReport): void => {
    if (said.kind !== 'appended') return
    indexes.push(said.digestIndex)
    decoder.push(said.bytes)
    kinds.push(...decoder.next()!.records.map(({ kind }) => kind))
  }
  const place = { life: 1, nextIndex: 3n, position: machine.position }
  const run = new PrimaryRun(machine, place, { report, hasCommands: () => true, flushMs: 1 })
  for (let i = 0; i < 2; i++) run.append({ kind: 'digest', isUrgent: true })
  run.flush()
  assert.deepEqual(kinds, ['digest', 'digest'])
  assert.deepEqual(indexes, [4n])
})

test('frames wait until the network device has room for them, and none is lost for want of a buffer', () => {
  const machine = computer()
  let room = 3
  Object.defineProperty(machine, 'frameRoom', { get: () => room })
  const logged: number[] = []
  const decoder = new BatchDecoder('test')
  const report = (said: MachineReport): void => {
    if (said.kind !== 'appended') return
    decoder.push(said.bytes)
    for (const record of decoder.next()!.records)
      if (record.kind === 'input' && record.port === PORT.net) logged.push(record.bytes[0]!)
  }
  const place = { life: 1, nextIndex: 3n, position: machine.position }
  const run = new PrimaryRun(machine, place, { report, hasCommands: () => true, flushMs: 1 })
  const frames = Array.from({ length: 8 }, (_, i) => new Uint8Array(60).fill(i))
  for (const bytes of frames) run.deliver({ kind: 'input', port: PORT.net, bytes })
  const turn = (): void => {
    run.turn()
    run.flush()
  }
  turn()
  assert.deepEqual(logged, [0, 1, 2])
  room = 0
  turn()
  assert.equal(logged.length, 3)
  room = 100
  turn()
  assert.deepEqual(logged, [0, 1, 2, 3, 4, 5, 6, 7])
})

test('a copy from which the other one differs reads all its RAM again, and is convicted by a page that nothing has written', () => {
  const machine = computer()
  const reports: MachineReport[] = []
  const place = { life: 1, nextIndex: 3n, position: machine.position }
  const ports = { report: (said: MachineReport) => reports.push(said), hasCommands: () => false, flushMs: 1 }
  const run = new PrimaryRun(machine, place, ports)
  machine.digest()
  run.checkRam()
  assert.deepEqual(reports.splice(0), [{ kind: 'sound' }])
  const { ram } = machine.machine
  const kernel = KERNEL_ADDRESS - RAM_BASE
  assert.ok(!ram.writtenPages().includes(kernel / PAGE_BYTES))
  ram.bytes[kernel + 100]! ^= 1
  run.checkRam()
  const [report] = reports
  assert.ok(report?.kind === 'convicted')
  assert.match(report.report, /^page 0x80200000 of the guest's RAM has changed without having been written/)
  assert.equal(run.state, 'stopped')
})

/** Executes until there is nothing to do any more. */
function executeAll(run: BackupRun): void {
  while (run.turn() === 0);
}

/** A backup at a digest of which the primary has another. */
function differing(): {
  readonly machine: ReturnType<typeof computer>
  readonly run: BackupRun
  readonly reports: MachineReport[]
} {
  const machine = computer()
  machine.digest()
  const reports: MachineReport[] = []
  const { position } = machine
  const run = new BackupRun(machine, { nextIndex: 3n, position }, (report) => reports.push(report))
  const place = { index: 3n, position: position + 1000n }
  run.feed([{ kind: 'digest', ...place, digest: 1n, slice: { firstPage: 0, pages: 1, digest: 0n } }])
  executeAll(run)
  return { machine, run, reports }
}

test('a backup whose digest differs stands still, and goes on if the primary is to blame', () => {
  const { machine, run, reports } = differing()
  const [report] = reports.splice(0)
  assert.ok(report?.kind === 'diverged' && report.evidence !== undefined)
  const { position } = machine
  run.feed([
    { kind: 'digest', index: 4n, position: position + 500n, digest: 2n, slice: undefined },
    { kind: 'reached', index: 5n, position: position + 1000n },
  ])
  executeAll(run)
  assert.deepEqual([machine.position, reports.length], [position, 0])
  run.disregardDigests()
  executeAll(run)
  assert.deepEqual(reports.at(-1), {
    kind: 'executed',
    frontier: { nextIndex: 6n, position: position + 1000n },
    outputs: [],
  })
  assert.ok(reports.every(({ kind }) => kind === 'executed'))
})

test('a backup that disregards digests compares all else', () => {
  const { machine, run, reports } = differing()
  reports.splice(0)
  run.disregardDigests()
  const { position } = machine
  run.feed([{ kind: 'output', index: 4n, position, port: PORT.uart, ordinal: 1n, digest: 7n }])
  executeAll(run)
  const report = reports.at(-1)
  assert.ok(report?.kind === 'diverged' && report.index === 4n && report.evidence === undefined)
  run.disregardDigests()
  executeAll(run)
  assert.equal(reports.at(-1), report, 'it does not go on from there')
})

test('a backup whose own memory has changed does not go on, whatever the primary has', () => {
  const { machine, run, reports } = differing()
  reports.splice(0)
  machine.machine.ram.bytes[KERNEL_ADDRESS - RAM_BASE + 100]! ^= 1
  run.disregardDigests()
  executeAll(run)
  assert.deepEqual(
    reports.map(({ kind }) => kind),
    ['convicted'],
  )
})

test('what a copy says of itself where it differs has room in a message', () => {
  assert.ok(EVIDENCE_BYTES_MAX <= MAX_EVIDENCE_BYTES)
})
