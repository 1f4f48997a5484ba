/**
 * A computer whose outside world is a function of its own history, without any real clock: two of them from equal
 * states are given equal events, so whatever differs between them afterwards is the machine's fault.
 */

import { hash64 } from '../src/base/hash64.ts'
import type { Computer, ExternalEvent } from '../src/board/computer.ts'
import { PORT } from '../src/board/computer.ts'
import type { OverlayDisk } from '../src/host/overlay_disk.ts'

/** Ticks of 100 ns a step, 32.32 fixed point: 200 million steps a second. */
const RATE = BigInt(Math.round(2 ** 32 / 20))
const CAP_TICKS = 100_000_000n
const RTC_OFFSET_NS = 1_800_000_000_000_000_000n

export class DrivenComputer {
  readonly computer: Computer
  readonly #disk: OverlayDisk
  #entropy = 0
  #screen = ''

  constructor(computer: Computer, disk: OverlayDisk) {
    this.computer = computer
    this.#disk = disk
  }

  /** What the guest has printed on its serial console. */
  get screen(): string {
    return this.#screen
  }

  type(keys: string): void {
    this.computer.deliver({ kind: 'input', port: PORT.uart, bytes: Buffer.from(keys, 'latin1') })
  }

  /**
   * Executes up to position `limit`, in pieces of at most `pieceSteps()` steps. Disk requests are answered, entropy is
   * supplied and time is corrected at `limit`, or where the guest idles: places that do not depend on the pieces.
   */
  async advance(limit: bigint, pieceSteps: () => bigint): Promise<void> {
    while (this.computer.position < limit) {
      const { position } = this.computer
      const next = position + pieceSteps()
      const stop = this.computer.run(next < limit ? next : limit)
      this.#collect()
      if (stop.reason === 'idle') await this.#idle(stop.until)
      else if (stop.reason === 'power') return
    }
    await this.#serve()
    this.#correctClock(this.computer.machine.now)
  }

  async #idle(until: bigint | undefined): Promise<void> {
    if (await this.#serve()) return
    this.#correctClock(until ?? this.computer.machine.now + CAP_TICKS)
  }

  #collect(): void {
    for (const { port, bytes } of this.computer.takeOutputs())
      if (port === PORT.uart) this.#screen += Buffer.from(bytes).toString('latin1')
  }

  #correctClock(base: bigint): void {
    const clock = { base, rate: RATE, cap: base + CAP_TICKS, rtcOffsetNs: RTC_OFFSET_NS }
    this.computer.deliver({ kind: 'clock', ...clock })
  }

  /** Answers what the guest waits for; false if that is nothing. */
  async #serve(): Promise<boolean> {
    const events: ExternalEvent[] = []
    for (const request of this.computer.takeDiskRequests()) {
      const { id, kind, sector, sectors } = request
      const data = kind === 'read' ? await this.#disk.read(sector, sectors) : undefined
      if (kind === 'write') await this.#disk.write(sector, request.data!)
      if (kind === 'discard' || kind === 'zeroes') await this.#disk.zeroes(sector, sectors)
      const read = data === undefined ? {} : { data }
      events.push({ kind: 'completion', request: id, status: 'ok', ...read })
    }
    const wanted = this.computer.entropyWanted
    if (wanted > 0) events.push({ kind: 'input', port: PORT.entropy, bytes: this.#random(wanted) })
    for (const event of events) this.computer.deliver(event)
    return events.length > 0
  }

  #random(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => Number(hash64(new Uint8Array(8), this.#entropy++) & 0xffn))
  }
}
