/**
 * The thread of a machine: executes one copy of a computer, as nothing, backup or primary, as it is told.
 *
 *     empty --boot--> primary
 *     empty --beginInstall, pages, finishInstall--> backup --takeOver--> primary
 */
import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { assert } from '../../base/assert.ts'
import { FormatError, UserError } from '../../base/errors.ts'
import { Computer, PORT } from '../../board/computer.ts'
import { nodeEngine } from '../../host/engine.ts'
import { onHugePages } from '../../host/huge_pages.ts'
import { PAGE_BYTES } from '../../machine/layout.ts'
import { bootFilesOf } from '../boot_files.ts'
import { collectGarbage } from '../heap.ts'
import { BackupRun } from './backup_run.ts'
import { packPages, unpackPages } from './packed_pages.ts'
import { PrimaryRun } from './primary_run.ts'
import {
  type MachineCommand,
  type MachineReport,
  type MachineThreadData,
  SharedProgress,
} from './thread_messages.ts'

class MachineThread {
  readonly #data: MachineThreadData
  readonly #port: MessagePort
  readonly #shared: SharedProgress
  #computer: Computer | undefined
  #primary: PrimaryRun | undefined
  #backup: BackupRun | undefined
  /** Commands have been sent up to here when they were last looked for. */
  #rung = 0
  #isOver = false
  /** The disk is full. A backup that learns it goes on, and is held when it takes over. */
  #isPaused = false
  /** What is to be done when the computer stands still. */
  #later: (() => void)[] = []

  constructor(data: MachineThreadData) {
    this.#data = data
    this.#port = data.port
    this.#shared = new SharedProgress(data.shared)
  }

  /** Never returns before the end. */
  run(): void {
    while (!this.#isOver) {
      this.#rung = this.#shared.rung
      this.#takeCommands()
      this.#takeState()
      const restMs = this.#primary?.turn() ?? this.#backup?.turn() ?? Infinity
      this.#publish()
      for (const action of this.#later.splice(0)) action()
      if (restMs > 0 && !this.#isOver) this.#shared.sleep(this.#rung, restMs)
    }
  }

  #report(report: MachineReport): void {
    this.#port.postMessage(report)
  }

  #takeCommands(): void {
    for (;;) {
      const received = receiveMessageOnPort(this.#port)
      if (received === undefined) return
      this.#take(received.message as MachineCommand)
    }
  }

  #take(command: MachineCommand): void {
    switch (command.kind) {
      case 'boot':
        return this.#boot(command.life)
      case 'bootFrom':
        return this.#bootFrom(command.life, command.state)
      case 'append':
        return this.#primary?.append(command.record)
      case 'execution':
        return this.#primary?.setExecution(command.pace, command.inputs)
      case 'stopExecution':
        return this.#primary?.stop()
      case 'snapshot':
        return this.#primary?.takeSnapshot(command.join)
      case 'dropSnapshot':
        return this.#primary?.dropSnapshot(command.join)
      case 'feed':
        return this.#backup?.feed(command.batch.records)
      case 'disregardDigests':
        return this.#backup?.disregardDigests()
      case 'takeOver':
        return this.#takeOver(command)
      case 'input':
        return this.#input(command.port, command.bytes)
      case 'diskDone':
        return this.#diskDone(command)
      case 'pause':
        this.#isPaused = command.isPaused
        return this.#primary?.pause(command.isPaused)
      case 'beginInstall':
        this.#computer = this.#newComputer()
        this.#backup = undefined
        return
      case 'installPages':
        return this.#installPages(command.pages)
      case 'finishInstall':
        return this.#install(command)
      case 'inspect':
        return this.#inspect(command.request)
      case 'explain':
        return this.#explain(command.index, command.evidence)
      case 'flipBit':
        return this.#report({ kind: 'flipped', page: this.#flipBit(command) })
      case 'end':
        this.#isOver = true
    }
  }

  #inspect(request: number): void {
    const computer = this.#primary === undefined && this.#backup === undefined ? undefined : this.#computer
    const found = computer && { position: computer.position, digest: computer.digest() }
    this.#report({ kind: 'inspected', request, found })
  }

  /** A fault that tests inject. Returns the page, or undefined if there is none such. */
  #flipBit({ isWritten, holding }: MachineCommand & { kind: 'flipBit' }): number | undefined {
    const { ram } = this.#computer!.machine
    // Listing all pages hashes what was written: after it nothing is written since the last digest.
    const pages = isWritten ? ram.writtenPages() : Array.from(ram.pages(), ({ page }) => page)
    const places = pages.flatMap((page) => {
      const start = page * PAGE_BYTES
      const at = Buffer.from(ram.bytes.subarray(start, start + PAGE_BYTES)).indexOf(holding)
      return at < 0 ? [] : [{ page, offset: holding === '' ? start + PAGE_BYTES / 2 : start + at }]
    })
    const place = places[Math.floor(places.length / 2)]
    if (place !== undefined) ram.bytes[place.offset]! ^= 1
    return place?.page
  }

  #explain(index: bigint, evidence: Uint8Array | undefined): void {
    const primary = this.#primary
    if (primary === undefined) return
    try {
      if (evidence !== undefined) this.#report({ kind: 'explained', text: primary.explain(index, evidence) })
    } catch (error) {
      if (!(error instanceof FormatError)) throw error
      this.#report({ kind: 'explained', text: error.message })
    }
    primary.checkRam()
  }

  #newComputer(): Computer {
    const { specification, image, kernelDigest, initramfsDigest, translation } = this.#data
    const digests = { kernel: kernelDigest, initramfs: initramfsDigest }
    const bootFiles = bootFilesOf(image, digests, (action) => this.#later.push(action))
    const engine = onHugePages(nodeEngine)
    // Emission stays on this thread: the other copy may need the other core (docs/decisions/0019).
    return new Computer({ engine, specification, bootFiles, translation })
  }

  #newPrimary(computer: Computer, life: number, nextIndex: bigint, position: bigint): PrimaryRun {
    const primary = new PrimaryRun(
      computer,
      { life, nextIndex, position },
      {
        report: (report) => this.#report(report),
        hasCommands: () => this.#shared.rung !== this.#rung,
        flushMs: this.#data.flushMs,
      },
    )
    primary.pause(this.#isPaused)
    return primary
  }

  #boot(life: number): void {
    const computer = this.#newComputer()
    computer.start()
    this.#computer = computer
    this.#primary = this.#newPrimary(computer, life, 0n, computer.position)
    this.#primary.announceLife()
    collectGarbage()
  }

  #bootFrom(life: number, state: Uint8Array): void {
    const computer = this.#computer!
    computer.loadState(state)
    this.#primary = this.#newPrimary(computer, life, 0n, computer.position)
    this.#primary.resubmit()
    this.#primary.announceLife()
    collectGarbage()
  }

  #takeOver({ life, frontier }: MachineCommand & { kind: 'takeOver' }): void {
    const backup = this.#backup
    assert(this.#computer !== undefined && backup !== undefined, 'took over without a machine')
    assert(
      backup.isIdle && backup.frontier.nextIndex === frontier.nextIndex,
      'took over before the last record',
    )
    this.#backup = undefined
    this.#primary = this.#newPrimary(this.#computer, life, frontier.nextIndex, frontier.position)
    this.#primary.carryOn({ ...backup.end(), isOff: backup.isOff })
  }

  #input(port: number, bytes: Uint8Array): void {
    if (port === PORT.uart) this.#primary?.type(bytes)
    else this.#primary?.deliver({ kind: 'input', port, bytes })
  }

  #diskDone({ request, status, data }: MachineCommand & { kind: 'diskDone' }): void {
    this.#primary?.diskDone(request, status, data)
    this.#backup?.diskDone(request, { status, data })
  }

  #installPages(pages: Uint8Array): void {
    const { ram, layout } = this.#computer!.machine
    unpackPages(pages, layout.ramPages, (page, bytes) => ram.restorePage(page, bytes))
  }

  #install({ join, state, frontier }: MachineCommand & { kind: 'finishInstall' }): void {
    const computer = this.#computer!
    computer.loadState(state)
    this.#backup = new BackupRun(computer, frontier, (report) => this.#report(report))
    collectGarbage()
    this.#report({ kind: 'installed', join })
  }

  /** Takes the states that are wanted, if they can be taken now. */
  #takeState(): void {
    const start = performance.now()
    const ready = this.#primary?.readySnapshots()
    if (ready === undefined) return
    const { joins, frontier } = ready
    const computer = this.#computer!
    for (const join of joins) {
      const pages = packPages(computer.machine.ram.pages())
      const state = computer.saveState()
      const stopMs = performance.now() - start
      const report: MachineReport = { kind: 'stateTaken', join, frontier, state, pages, stopMs }
      this.#port.postMessage(
        report,
        pages.map(({ buffer }) => buffer as ArrayBuffer),
      )
    }
  }

  #publish(): void {
    if (this.#computer === undefined) return
    const state = this.#primary?.state ?? (this.#backup?.isIdle === false ? 'running' : 'idle')
    // A backup's is that of its member's own heartbeats: two that alternate would look like progress.
    const { position } = this.#backup?.frontier ?? this.#computer
    this.#shared.progress.write(state, position)
  }
}

const thread = new MachineThread(workerData as MachineThreadData)
try {
  thread.run()
} catch (error) {
  if (!(error instanceof UserError)) throw error
  const report: MachineReport = { kind: 'failed', message: error.message }
  ;(workerData as MachineThreadData).port.postMessage(report)
}
