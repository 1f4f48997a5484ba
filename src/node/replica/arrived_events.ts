/**
 * What has arrived for the primary's machine and waits to be delivered: between slices, while inputs are held, or while
 * nothing runs. What a disk has done comes first, frames last; the log keeps the order in which they were delivered.
 *
 * Frames wait also for room in the guest's network device, which would drop what it has no buffer for: after a failover
 * the gateway sends what thousands of connections have not had acknowledged. Beyond a bound in number and bytes frames
 * are lost, as a network loses them. Everything else is asked for by the guest, and bounded by that.
 */
import { type ExternalEvent, PORT } from '../../board/computer.ts'

export const WAITING_FRAMES_MAX = 8192
export const WAITING_FRAME_BYTES_MAX = 8 * 1024 * 1024

export class ArrivedEvents {
  #completions: ExternalEvent[] = []
  #others: ExternalEvent[] = []
  #frames: (ExternalEvent & { kind: 'input' })[] = []
  #frameBytes = 0
  #entropyComing = 0

  add(event: ExternalEvent): void {
    if (event.kind === 'completion') this.#completions.push(event)
    else if (event.kind === 'input' && event.port === PORT.net) this.#addFrame(event)
    else {
      if (isEntropy(event)) this.#entropyComing++
      this.#others.push(event)
    }
  }

  get hasCompletions(): boolean {
    return this.#completions.length > 0
  }

  /** Whether random bytes for the guest are among what waits. */
  get isEntropyComing(): boolean {
    return this.#entropyComing > 0
  }

  /** Whether something can be delivered to a guest that has room for so many frames. */
  hasAny(frameRoom: number): boolean {
    return this.hasCompletions || this.#others.length > 0 || (this.#frames.length > 0 && frameRoom > 0)
  }

  takeCompletions(): readonly ExternalEvent[] {
    const completions = this.#completions
    this.#completions = []
    return completions
  }

  /** All that can be delivered, in order. */
  takeAll(frameRoom: number): readonly ExternalEvent[] {
    const others = this.#others
    this.#others = []
    this.#entropyComing = 0
    const frames = this.#frames.splice(0, frameRoom)
    for (const { bytes } of frames) this.#frameBytes -= bytes.length
    return [...this.takeCompletions(), ...others, ...frames]
  }

  #addFrame(frame: ExternalEvent & { kind: 'input' }): void {
    const bytes = this.#frameBytes + frame.bytes.length
    if (this.#frames.length >= WAITING_FRAMES_MAX || bytes > WAITING_FRAME_BYTES_MAX) return
    this.#frames.push(frame)
    this.#frameBytes = bytes
  }
}

function isEntropy(event: ExternalEvent): boolean {
  return event.kind === 'input' && event.port === PORT.entropy
}
