/** The worker's side of emission_worker.ts. */
import { workerData } from 'node:worker_threads'
import { compileModule } from '../host/engine.ts'
import { EmissionService } from '../machine/translator/emission_thread.ts'
import {
  type EmissionCommand,
  type EmissionReport,
  type EmissionWorkerData,
  ENDED,
  type MachineToEmitFor,
  WORD,
} from './emission_worker.ts'
import { digestOfSources, KeptRegionsFile } from './kept_regions_file.ts'

/** It ends when it has had nothing to do for so long. */
const REST_MS = 3000

class EmissionWorkerThread {
  readonly #data: EmissionWorkerData
  readonly #rest: NodeJS.Timeout
  /** These are there from the first command on. */
  #machine!: MachineToEmitFor
  #service!: EmissionService
  #file: KeptRegionsFile | undefined
  #life = 0
  /** Whether what has been found to be kept will be told when nothing else is to do. */
  #willFinish = false
  #commands = 0
  #reports = 0
  /** Those of earlier lives. */
  #reportsBefore = 0
  #regions = 0

  constructor(data: EmissionWorkerData) {
    this.#data = data
    this.#rest = setTimeout(() => this.#end(), REST_MS)
    data.port.on('message', (command: EmissionCommand) => this.#take(command))
    // The first command may still be some time away.
    if (data.keptIn !== undefined) digestOfSources()
  }

  #take(command: EmissionCommand): void {
    this.#commands++
    this.#rest.refresh()
    try {
      this.#do(command)
    } catch (error) {
      this.#report({ kind: 'failure', error })
    }
  }

  #do(command: EmissionCommand): void {
    if (command.kind === 'begin') this.#begin(command.machine)
    else if (command.kind === 'order') {
      const received = Atomics.load(this.#data.words, WORD.received)
      this.#service.order(command.order, Math.max(0, received - this.#reportsBefore))
    } else if (command.kind === 'meet') {
      for (const page of command.pages) this.#service.meet(page)
      this.#finishSoon()
    } else if (command.kind === 'finish') this.#service.finish()
    else if (command.kind === 'close') this.#close()
    else {
      this.#life = command.life
      this.#reportsBefore = this.#reports
      this.#service = this.#newService()
    }
  }

  #begin(machine: MachineToEmitFor): void {
    const { keptIn } = this.#data
    this.#machine = machine
    this.#life = machine.life
    this.#regions = machine.regions
    if (keptIn !== undefined) this.#file = KeptRegionsFile.open(keptIn, machine.parts)
    this.#service = this.#newService()
  }

  #newService(): EmissionService {
    const { parts, limits } = this.#machine
    return new EmissionService({
      ...{ ...parts, limits, regions: this.#regions, kept: this.#file?.regions, compile: compileModule },
      send: (answer) => {
        this.#regions += answer.module?.regions.length ?? 0
        this.#report({ kind: 'answer', answer, life: this.#life })
      },
    })
  }

  /** When what has been sent by now has been done: nobody asks for what was kept. */
  #finishSoon(): void {
    if (this.#willFinish) return
    this.#willFinish = true
    setImmediate(() => {
      this.#willFinish = false
      this.#service.finish()
    })
  }

  #report(report: EmissionReport): void {
    this.#reports++
    this.#data.port.postMessage(report)
    Atomics.add(this.#data.words, WORD.reports, 1)
  }

  /** Ends, having said all that it has, unless something has been sent meanwhile. What has not been received by then still can be. */
  async #end(): Promise<void> {
    const { port, words } = this.#data
    if (this.#commands > 0) this.#service.finish()
    await this.#file?.write()
    const sent = Atomics.compareExchange(words, WORD.commands, this.#commands, ENDED)
    if (sent === this.#commands) port.close()
    else this.#rest.refresh()
  }

  async #close(): Promise<void> {
    clearTimeout(this.#rest)
    await this.#file?.write()
    this.#data.port.close()
  }
}

new EmissionWorkerThread(workerData as EmissionWorkerData)
