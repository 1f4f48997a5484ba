/**
 * A replica host: a disk, clocks, and a supervisor that starts the machine's process again whenever there is none.
 *
 *     up, process alive <--restart-- up, no process <--power-- down
 */
import type { Random } from '../src/base/prng.ts'
import type { Channel, EndHandler } from './channel.ts'
import { Disk } from './disk.ts'
import type { Listener, Site } from './network.ts'
import { MachineProcess, type ProcessHost } from './process.ts'
import type { Surroundings } from './surroundings.ts'
import { DISK_BYTES } from './toy_service.ts'

export class Host implements ProcessHost, Site {
  readonly name: string
  readonly disk: Disk
  readonly #surroundings: Surroundings
  readonly #random: Random
  readonly #mayCreate: boolean
  /** The monotonic clock: where it started, and how fast it goes. */
  readonly #startUs: number
  readonly #rate: number
  #calendarOffsetUs = 0
  #process: MachineProcess | undefined
  #incarnations = 0
  #isUp = true
  /** It never comes back. */
  #isGone = false
  /** Raised whenever a restart that is planned must not happen any more. */
  #plan = 0
  /** Whether the next processes start with the operator's word. */
  isForced = false

  /** The first host may create the machine: its disk is formatted. */
  constructor(surroundings: Surroundings, name: string, mayCreate: boolean) {
    const random = surroundings.world.randomStream()
    this.name = name
    this.#surroundings = surroundings
    this.#random = random
    this.#mayCreate = mayCreate
    const { world, shape } = surroundings
    this.disk = new Disk(world, random, shape.disk, new Uint8Array(DISK_BYTES))
    if (mayCreate) this.disk.format(`disk-${name}-0`)
    this.#startUs = random.below(1_000_000_000)
    this.#rate = 1 + (random.fraction() - 0.5) * 0.002
  }

  get running(): MachineProcess | undefined {
    return this.#process
  }

  get isUp(): boolean {
    return this.#isUp
  }

  get isGone(): boolean {
    return this.#isGone
  }

  get listener(): Listener | undefined {
    return this.#process
  }

  monotonicUs(): number {
    return this.#startUs + this.#surroundings.world.nowMs * 1000 * this.#rate
  }

  calendarUs(): number {
    return 1e15 + this.monotonicUs() + this.#calendarOffsetUs
  }

  jumpCalendar(byUs: number): void {
    this.#calendarOffsetUs += byUs
  }

  /** Starts a process unless there is one. */
  start(): void {
    this.#plan++
    if (this.#process !== undefined || !this.#isUp) return
    const number = ++this.#incarnations
    const isReused = this.#surroundings.planted.has('identity reused')
    const mark = this.#random.u32().toString(16).padStart(8, '0')
    const incarnation = isReused ? `${this.name}1` : `${this.name}${number}-${mark.slice(0, 4)}`
    const start = {
      incarnation,
      joinGeneration: `disk-${this.name}-${number}`,
      mayCreate: this.#mayCreate,
      isForced: this.isForced,
    }
    const started = new MachineProcess(
      this.#surroundings,
      this,
      start,
      this.#surroundings.world.randomStream(),
    )
    started.onCrash = () => this.crash()
    this.#process = started
  }

  /** The process dies; the host lives. */
  crash(): void {
    const ended = this.#process
    if (ended === undefined) return
    this.#observeCrash(ended)
    ended.kill(true)
    this.#process = undefined
    this.disk.onProcessLost()
    this.#restartLater()
  }

  powerOff(): void {
    if (!this.#isUp) return
    this.#isUp = false
    this.#plan++
    if (this.#process !== undefined) {
      this.#observeCrash(this.#process)
      this.#process.kill(false)
    }
    this.#process = undefined
    this.disk.onPowerLost()
  }

  /** The whole host is lost for good, with its disk. */
  lose(): void {
    this.powerOff()
    this.#isGone = true
  }

  /** Its disk is lost, and with it the process that used it; there is an empty one in its place. */
  loseDisk(): void {
    this.crash()
    this.disk.wipe()
  }

  /** Its disk is replaced by an older one, and the process that used it is gone. */
  restoreDisk(): void {
    this.crash()
    this.disk.restoreFormer()
  }

  powerOn(): void {
    if (this.#isUp || this.#isGone) return
    this.#isUp = true
    this.#restartLater()
  }

  onHalted(): void {
    this.#process = undefined
    this.disk.onProcessLost()
    this.#restartLater()
  }

  onAccept(channel: Channel): EndHandler {
    return this.#process!.onAccept(channel)
  }

  #observeCrash({ id }: MachineProcess): void {
    this.#surroundings.world.say(id.incarnation, () => 'crashes')
    this.#surroundings.world.observe({ kind: 'crashed', process: id })
  }

  #restartLater(): void {
    const plan = ++this.#plan
    const { world, shape } = this.#surroundings
    world.after(20 + this.#random.fraction() * shape.restartMs, () => {
      if (plan === this.#plan) this.start()
    })
  }
}
