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

/** What was kept is told of together if it is found within so long. */
const MORE_MS = 10

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
    this.#rest = setTimeout(() => this.#end(), data.restMs)
    data.port.on('message', (command: EmissionCommand) => this.#take(command))
    // The first command may still be some time away. What fails here fails again where it is reported.
    if (data.keptIn !== undefined) setImmediate(() => this.#try(digestOfSources))
  }

  #take(command: EmissionCommand): void {
    this.#commands++
    if (command.kind !== 'meet') this.#rest.refresh()
    this.#try(() => this.#do(command))
  }

  #try(work: () => void): void {
    try {
      work()
    } catch (error) {
      this.#report({ kind: 'failure', error })
    }
  }

  #do(command: EmissionCommand): void {
    if (command.kind === 'begin') this.#begin(command.machine)
    else if (command.kind === 'order') this.#service.order(command.order, this.#taken())
    else if (command.kind === 'meet') {
      // An idle machine meets a page now and then, for which there is nothing.
      for (const page of command.pages) if (this.#service.meet(page, this.#taken())) this.#rest.refresh()
      this.#finishSoon()
    } else if (command.kind === 'finish') this.#service.finish()
    else if (command.kind === 'close') this.#close()
    else {
      this.#life = command.life
      this.#reportsBefore = this.#reports
      this.#service = this.#newService()
    }
  }

  /** How many answers of this service the machine has. */
  #taken(): number {
    return Math.max(0, Atomics.load(this.#data.words, WORD.received) - this.#reportsBefore)
  }

  #begin(machine: MachineToEmitFor): void {
    const { keptIn } = this.#data
    this.#machine = machine
    this.#life = machine.life
    this.#regions = machine.regions
    if (keptIn !== undefined) this.#file = KeptRegionsFile.open(keptIn, machine.parts, machine.isAgain)
    this.#service = this.#newService()
    if (machine.isAgain) this.#service.noteMet(machine.met)
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

  /** Nobody asks for what was kept. Pages are met one after the other, and each module takes its memory. */
  #finishSoon(): void {
    if (this.#willFinish) return
    this.#willFinish = true
    setTimeout(() => {
      this.#willFinish = false
      this.#try(() => this.#service.finish())
    }, MORE_MS)
  }

  #report(report: EmissionReport): void {
    this.#reports++
    this.#data.port.postMessage(report)
    Atomics.add(this.#data.words, WORD.reports, 1)
  }

  /**
   * Ends, having said all that it has and kept what is to be kept, unless something has been sent meanwhile. What has not been received by
   * then still can be.
   */
  async #end(): Promise<void> {
    const { port, words } = this.#data
    const commands = this.#commands
    if (commands > 0) this.#try(() => this.#service.finish())
    await this.#file?.write()
    const isLast = (): boolean => Atomics.compareExchange(words, WORD.commands, commands, ENDED) === commands
    if (this.#commands === commands && isLast()) port.close()
    else this.#rest.refresh()
  }

  async #close(): Promise<void> {
    clearTimeout(this.#rest)
    await this.#file?.write()
    this.#data.port.close()
  }
}

new EmissionWorkerThread(workerData as EmissionWorkerData)
