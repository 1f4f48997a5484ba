import assert from 'node:assert/strict'
import { test } from 'node:test'
import { smallComputer } from '../../board/testing/small_computer.ts'
import { nodeEngine } from '../../host/engine.ts'
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
