/**
 * The toy machine as the primary runs it: in slices of simulated time, with everything that reaches it logged at the
 * position where it is applied, and everything it puts out announced in the log.
 *
 *     waiting --an event, the guest's timer--> slice --time goes by--> slice ... --idle--> waiting
 *
 * Between slices the machine stands at a certain position; events are applied there. Records travel in batches, after
 * `flushMs` or at once if an output is among them.
 */
import { hash64 } from '../src/base/hash64.ts'
import { BatchEncoder } from '../src/log/batch.ts'
import type { NewRecord } from '../src/log/record.ts'
import type { AppendRequest, Frontier, MachineOutput } from '../src/replication/ports.ts'
import { observeApplied } from './applied.ts'
import type { DiskDriver } from './disk_driver.ts'
import { GuestTime } from './guest_time.ts'
import { PORT } from './machine_ports.ts'
import type { ReplicaPorts } from './replica_ports.ts'
import type { ToyMachine } from './toy_machine.ts'

const SLICE_MS = 1
const CLOCK_MS = 5
const ENTROPY_MS = 2
/** What it takes to read all memory again. */
const CHECK_MS = 20
const ENTROPY_BYTES = 8
/** Pages of RAM that a digest record re-reads. */
const SLICE_PAGES = 2

interface WaitingInput {
  readonly port: number
  readonly bytes: Uint8Array
}

export class PrimaryRun {
  readonly #ports: ReplicaPorts
  readonly #machine: ToyMachine
  readonly #driver: DiskDriver
  readonly #life: number
  readonly #encoder: BatchEncoder
  readonly #time: GuestTime
  #inputs: WaitingInput[] = []
  #outputs: MachineOutput[] = []
  #batchFirst: bigint
  /** Position of the last record. */
  #logged: bigint
  #digestIndex: bigint | undefined
  #pace = 1
  #isTaking = true
  #isStopped = false
  /** A slice is under way: the machine is busy until it is over. */
  #isInSlice = false
  #isFlushing = false
  #isEntropyComing = false
  #timer = 0
  #nextPage = 0
  /** The snapshot that waits for the running requests. */
  #snapshot: { readonly take: (frontier: Frontier) => void } | undefined
  #isButtonPressed = false
  #isOver = false

  /** Goes on at `place`, where the machine stands. */
  constructor(
    ports: ReplicaPorts,
    machine: ToyMachine,
    driver: DiskDriver,
    place: { readonly life: number } & Frontier,
  ) {
    this.#ports = ports
    this.#machine = machine
    this.#driver = driver
    this.#life = place.life
    this.#encoder = new BatchEncoder(place)
    this.#batchFirst = place.nextIndex
    this.#logged = place.position
    this.#time = new GuestTime(ports, machine)
    driver.onFinished = () => this.#wake()
    // What came out of the last steps before the log ended here is not in the log yet.
    this.#collect()
    this.#wake()
  }

  get state(): 'running' | 'idle' | 'stopped' {
    if (this.#isStopped || this.#machine.isOff || this.#snapshot !== undefined) return 'stopped'
    return this.#machine.isIdle ? 'idle' : 'running'
  }

  input(port: number, bytes: Uint8Array): void {
    this.#inputs.push({ port, bytes })
    this.#wake()
  }

  /** The operator presses the machine's power button. */
  powerButton(): void {
    this.#isButtonPressed = true
    this.#wake()
  }

  /** The other copy differs: reads all memory again, which takes its time. */
  checkRam(): void {
    this.#ports.after(CHECK_MS, () => {
      const read = this.#machine.reread(0, this.#machine.ramPages)
      if ('corruptPage' in read) this.#convict(read.corruptPage)
      else this.#ports.give({ kind: 'sound' })
    })
  }

  append(request: AppendRequest): void {
    const position = BigInt(this.#machine.position)
    if (request.kind === 'released') {
      this.#log({ ...request, position })
      return this.#flushSoon()
    }
    const slice = { firstPage: this.#nextPage, pages: SLICE_PAGES }
    const read = this.#machine.reread(slice.firstPage, slice.pages)
    if ('corruptPage' in read) return this.#convict(read.corruptPage)
    this.#nextPage = (this.#nextPage + SLICE_PAGES) % this.#machine.ramPages
    const digest = this.#machine.digest()
    this.#digestIndex = this.#log({ kind: 'digest', position, digest, slice: { ...slice, ...read } })
    this.#flushSoon()
  }

  setExecution(pace: number, inputs: 'taken' | 'held'): void {
    this.#pace = pace
    this.#isTaking = inputs === 'taken'
    this.#isStopped = false
    this.#wake()
  }

  stop(): void {
    this.#isStopped = true
    this.#log({ kind: 'reached', position: BigInt(this.#machine.position) })
    this.#flush()
    this.#ports.give({ kind: 'stopped' })
  }

  /** Calls `take` when no request runs; until then nothing runs. Everything logged before has been reported. */
  snapshot(take: (frontier: Frontier) => void): void {
    this.#snapshot = { take }
    this.#wake()
  }

  dropSnapshot(): void {
    this.#snapshot = undefined
    this.#wake()
  }

  /** Goes on if there is something to do and nothing forbids it. */
  #wake(): void {
    if (this.#isInSlice || this.#isOver) return
    if (this.#snapshot !== undefined && !this.#takeSnapshot()) return
    // A backup may take over a machine whose guest has powered off.
    if (this.#machine.isOff) return this.#onOff()
    if (this.#isStopped || this.#pace === 0) return
    const finished = this.#driver.finished()
    const inputs = this.#isTaking ? this.#inputs : []
    const isTimer = this.#machine.isIdle && this.#time.nowUs() >= this.#machine.timerUs
    const hasEvents = finished.length + inputs.length > 0 || this.#isButtonPressed
    if (this.#machine.isIdle && !hasEvents && !isTimer) return this.#sleep()
    if (this.#machine.isIdle || this.#time.ageMs() >= CLOCK_MS) this.#correctClock()
    for (const number of finished) this.#complete(number)
    if (this.#isTaking) this.#inputs = []
    for (const { port, bytes } of inputs)
      this.#apply({ kind: 'input', port, bytes, position: this.#position })
    if (this.#isButtonPressed) this.#pressButton()
    this.#runSlice()
  }

  #pressButton(): void {
    this.#isButtonPressed = false
    this.#apply({ kind: 'control', operation: 'power-button', argument: 0n, position: this.#position })
  }

  get #position(): bigint {
    return BigInt(this.#machine.position)
  }

  /** Runs at once as far as the slice's time allows, and lets that time go by then. */
  #runSlice(): void {
    const machine = this.#machine
    const steps = Math.max(1, Math.round(this.#ports.stepsPerMs * SLICE_MS * this.#pace))
    const start = machine.position
    while (machine.position < start + steps && !machine.isIdle) {
      machine.run(start + steps)
      this.#collect()
    }
    if (this.#outputs.length > 0) this.#flush()
    else this.#flushSoon()
    if (machine.isOff) return this.#onOff()
    this.#isInSlice = true
    const usedMs = (machine.position - start) / (this.#ports.stepsPerMs * this.#pace)
    this.#ports.after(usedMs, () => {
      this.#isInSlice = false
      this.#wake()
    })
  }

  #onOff(): void {
    this.#isOver = true
    this.#log({ kind: 'reached', position: this.#position })
    this.#flush()
    this.#ports.give({ kind: 'poweredOff' })
  }

  #sleep(): void {
    if (this.#encoder.records > 0) this.#flushSoon()
    const waitUs = this.#machine.timerUs - this.#time.nowUs()
    if (waitUs > 1e12) return
    const timer = ++this.#timer
    this.#ports.after(Math.max(0.01, waitUs / 1000), () => {
      if (timer === this.#timer) this.#wake()
    })
  }

  #correctClock(): void {
    this.#apply({ kind: 'clock', position: this.#position, ...this.#time.correction() })
  }

  #complete(number: number): void {
    const { status, data } = this.#driver.result(number)!
    const digest = data === undefined ? undefined : hash64(data)
    this.#apply({ kind: 'completion', request: number, status, digest, position: this.#position })
  }

  /** Applies an event and logs it. */
  #apply(record: NewRecord): void {
    const machine = this.#machine
    if (record.kind === 'input') machine.input(record.port, record.bytes)
    if (record.kind === 'clock') machine.correctClock(record)
    if (record.kind === 'control') machine.powerButton()
    if (record.kind === 'completion') {
      machine.complete(
        record.request,
        record.status === 'ok' ? 'ok' : 'error',
        this.#driver.result(record.request)?.data,
      )
      this.#driver.drop(record.request)
    }
    const index = this.#log(record)
    const flushes = machine.takeFlush()
    if (flushes !== undefined) {
      this.#ports.observe({ kind: 'flushed', life: this.#life, index, flushes: BigInt(flushes) })
    }
  }

  /** Takes what the guest has put out and asked for. */
  #collect(): void {
    const machine = this.#machine
    for (const request of machine.takeRequests()) this.#driver.submit(request)
    for (const output of machine.takeOutputs()) {
      const { port, bytes } = output
      const [ordinal, position] = [BigInt(output.ordinal), BigInt(output.position)]
      const index = this.#log({ kind: 'output', port, ordinal, digest: hash64(bytes), position })
      this.#outputs.push({ index, port, ordinal, bytes })
    }
    if (machine.wantsEntropy && !this.#isEntropyComing) this.#bringEntropy()
  }

  #convict(page: number): void {
    this.#ports.give({ kind: 'convicted', report: `page ${page} has changed by itself` })
  }

  #bringEntropy(): void {
    this.#isEntropyComing = true
    this.#ports.after(ENTROPY_MS, () => {
      this.#isEntropyComing = false
      this.input(PORT.entropy, this.#ports.random.bytes(ENTROPY_BYTES))
    })
  }

  /** False while it has to wait. */
  #takeSnapshot(): boolean {
    if (this.#driver.isBusy && !this.#ports.has('request in flight at joining')) return false
    const { take } = this.#snapshot!
    this.#snapshot = undefined
    // So that the next batch counts from here.
    this.#log({ kind: 'reached', position: this.#position })
    this.#flush()
    take({ nextIndex: this.#encoder.nextIndex, position: this.#position })
    return true
  }

  #log(record: NewRecord): bigint {
    const index = this.#encoder.append(record)
    this.#logged = record.position
    observeApplied(this.#ports, this.#machine, { life: this.#life, index }, record)
    return index
  }

  #flushSoon(): void {
    if (this.#isFlushing || this.#encoder.records === 0) return
    this.#isFlushing = true
    this.#ports.after(this.#ports.flushMs, () => {
      this.#isFlushing = false
      this.#flush()
    })
  }

  #flush(): void {
    const bytes = this.#encoder.take()
    if (bytes === undefined) return
    const nextIndex = this.#encoder.nextIndex
    this.#ports.give({
      kind: 'appended',
      bytes,
      firstIndex: this.#batchFirst,
      frontier: { nextIndex, position: this.#logged },
      outputs: this.#outputs,
      digestIndex: this.#digestIndex,
    })
    this.#batchFirst = nextIndex
    this.#outputs = []
    this.#digestIndex = undefined
  }
}
