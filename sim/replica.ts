/**
 * One process's copy of the machine: what the effects of its member that concern the machine do.
 *
 *     nothing --boot--> primary          nothing --storeChunk..., install--> backup --takeOver--> primary
 */
import { assert } from '../src/base/assert.ts'
import { concatenate } from '../src/base/bytes.ts'
import { StateReader, StateWriter } from '../src/base/state.ts'
import type { ExecutionState } from '../src/replication/message.ts'
import type { Effect, Frontier } from '../src/replication/ports.ts'
import { BackupRun } from './backup_run.ts'
import { DiskDriver } from './disk_driver.ts'
import { PrimaryRun } from './primary_run.ts'
import type { ReplicaPorts } from './replica_ports.ts'
import { ToyMachine } from './toy_machine.ts'

const CHUNK_READ_MS = 1

/** Those effects that are the machine's. */
export type MachineEffect = Extract<
  Effect,
  {
    kind:
      | 'boot'
      | 'append'
      | 'execution'
      | 'stopExecution'
      | 'failRequests'
      | 'snapshot'
      | 'readChunk'
      | 'dropSnapshot'
      | 'storeChunk'
      | 'install'
      | 'feed'
      | 'disregardDigests'
      | 'takeOver'
      | 'explain'
  }
>

export interface ReplicaIdentity {
  /** The generation that the disk gets when this process joins or formats it. */
  readonly joinGeneration: string
  readonly isForced: () => boolean
}

export class Replica {
  readonly #ports: ReplicaPorts
  readonly #identity: ReplicaIdentity
  readonly #driver: DiskDriver
  #machine: ToyMachine | undefined
  #primary: PrimaryRun | undefined
  #backup: BackupRun | undefined
  /** The state that a copy joins with, kept until it has it. */
  #kept: { readonly join: number; readonly bytes: Uint8Array } | undefined
  #chunks: Uint8Array[] = []

  constructor(ports: ReplicaPorts, identity: ReplicaIdentity) {
    this.#ports = ports
    this.#identity = identity
    this.#driver = new DiskDriver(ports)
  }

  get machine(): ToyMachine | undefined {
    return this.#machine
  }

  /** What a primary's machine does at the moment, for its heartbeats. */
  get progress(): { readonly state: ExecutionState; readonly position: bigint } | undefined {
    if (this.#primary === undefined) return undefined
    return { state: this.#primary.state, position: BigInt(this.#machine!.position) }
  }

  /** Something arrives for the primary's machine. */
  input(port: number, bytes: Uint8Array): void {
    this.#primary?.input(port, bytes)
  }

  powerButton(): void {
    this.#primary?.powerButton()
  }

  perform(effect: MachineEffect): void {
    switch (effect.kind) {
      case 'boot':
        return this.#boot(effect.life)
      case 'append':
        return this.#primary?.append(effect.record)
      case 'execution':
        return this.#primary?.setExecution(effect.pace, effect.inputs)
      case 'stopExecution':
        return this.#primary?.stop()
      case 'failRequests':
        return this.#driver.failHeld()
      case 'snapshot':
        return this.#snapshot(effect.join)
      case 'readChunk':
        return this.#readChunk(effect.join, effect.number)
      case 'dropSnapshot':
        this.#primary?.dropSnapshot()
        this.#kept = undefined
        return
      case 'storeChunk':
        if (effect.number === 0) this.#chunks = []
        this.#chunks.push(effect.bytes)
        return
      case 'install':
        return this.#install(effect)
      case 'feed':
        return this.#backup?.feed(effect.batch)
      case 'disregardDigests':
        return this.#backup?.disregardDigests()
      case 'takeOver':
        return this.#takeOver(effect.life, effect.frontier)
      case 'explain':
        return this.#primary?.checkRam()
    }
  }

  #boot(life: number): void {
    const { disk } = this.#ports
    if (disk.generation === undefined) disk.format(this.#identity.joinGeneration)
    // What a crash has left in the cache is read below: it must not be lost later.
    disk.sync()
    const machine = ToyMachine.boot(disk.content(), life)
    this.#machine = machine
    const place = { life, nextIndex: 0n, position: 0n }
    const isForced = this.#identity.isForced()
    this.#ports.observe({ kind: 'booted', ...place, isForced })
    this.#ports.observe({ kind: 'recovered', life, flushes: BigInt(machine.flushes), isForced })
    this.#primary = new PrimaryRun(this.#ports, machine, this.#driver, place)
  }

  #snapshot(join: number): void {
    this.#primary?.snapshot((frontier) => {
      const writer = new StateWriter()
      this.#machine!.save(writer)
      writer.bytes('disk', this.#ports.disk.content())
      writer.bytes('finished', this.#driver.save())
      this.#kept = { join, bytes: writer.finish() }
      this.#ports.give({ kind: 'snapshotTaken', join, frontier })
    })
  }

  #readChunk(join: number, number: number): void {
    this.#ports.after(CHUNK_READ_MS, () => {
      if (this.#kept?.join !== join) return
      const { chunkBytes } = this.#ports
      const { bytes } = this.#kept
      const chunks = Math.ceil(bytes.length / chunkBytes)
      if (number >= chunks) return
      const chunk = bytes.slice(number * chunkBytes, (number + 1) * chunkBytes)
      this.#ports.give({ kind: 'chunkRead', join, number, isLast: number === chunks - 1, bytes: chunk })
    })
  }

  #install({ join, life, frontier }: MachineEffect & { kind: 'install' }): void {
    const { disk } = this.#ports
    const reader = new StateReader(concatenate(this.#chunks))
    const machine = ToyMachine.load(reader)
    const content = reader.bytes('disk')
    this.#driver.load(reader.bytes('finished'))
    reader.finish()
    disk.beginInstall(content)
    this.#ports.after(disk.installMs(), () => {
      disk.finishInstall(content, this.#identity.joinGeneration)
      this.#machine = machine
      this.#backup = new BackupRun(this.#ports, machine, this.#driver, { life, ...frontier })
      this.#ports.observe({ kind: 'installed', life, ...frontier, isForced: false })
      this.#ports.give({ kind: 'installed', join })
    })
  }

  #takeOver(life: number, frontier: Frontier): void {
    assert(this.#machine !== undefined && this.#backup !== undefined, 'took over without a machine')
    this.#backup.end()
    if (this.#ports.has('ordinals restarted')) this.#machine.restartOrdinals()
    this.#ports.observe({ kind: 'wentLive', life, ...frontier, isForced: false })
    const place = { life, ...frontier }
    this.#primary = new PrimaryRun(this.#ports, this.#machine, this.#driver, place)
  }
}
