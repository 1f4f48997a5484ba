/** A TAP interface as the main thread sees it; tap_thread.ts reads from it. */
import { closeSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { openTap, TapReader, writeTap } from './tap_device.ts'
import { FRAME_BYTES_MAX, TAP_CONTROL, TAP_CONTROL_WORDS } from './tap_memory.ts'
import type { TapReport } from './tap_thread.ts'

export interface TapEvents {
  readonly onFrame: (frame: Uint8Array) => void
  /** The interface was removed; it may be opened again if there is another of its name. */
  readonly onGone: () => void
}

/** More than any queue of an interface holds; a busy network does not keep the drain going. */
const DRAIN_FRAMES_MAX = 10_000

/**
 * The thread is started at once, since a failover should not wait for it; it sleeps until the interface is opened.
 *
 *     closed --open--> open --the interface is removed--> closed
 */
export class Tap {
  readonly #name: string
  readonly #events: TapEvents
  readonly #control = new Int32Array(new SharedArrayBuffer(4 * TAP_CONTROL_WORDS))
  readonly #worker: Worker
  #descriptor: number | undefined
  #isEnded = false

  constructor(name: string, events: TapEvents) {
    this.#name = name
    this.#events = events
    this.#worker = new Worker(new URL('./tap_thread.ts', import.meta.url), { workerData: this.#control })
    this.#worker.unref()
    // A mistake of ours in the thread is one of the process.
    this.#worker.on('error', (error) => {
      throw error
    })
    this.#worker.on('message', (report: TapReport) => this.#onReport(report))
  }

  /** Takes the interface; what had arrived there before is lost. Throws what `openTap` throws. */
  open(): void {
    if (this.#descriptor !== undefined) return
    const descriptor = openTap(this.#name)
    drain(descriptor)
    this.#descriptor = descriptor
    this.#set(TAP_CONTROL.descriptor, descriptor + 1)
  }

  /** Puts a frame out; false if it was lost, as any network may lose one. */
  write(frame: Uint8Array): boolean {
    return this.#descriptor !== undefined && writeTap(this.#descriptor, frame)
  }

  /** While it is held nothing is read, and what the interface has no room for is lost. */
  hold(isHeld: boolean): void {
    this.#set(TAP_CONTROL.isHeld, isHeld ? 1 : 0)
  }

  /** Gives the interface back, as soon as the thread has let go of it. */
  async close(): Promise<void> {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#set(TAP_CONTROL.isHeld, 0)
    this.#set(TAP_CONTROL.isEnded, 1)
    Atomics.notify(this.#control, TAP_CONTROL.descriptor)
    await this.#worker.terminate()
    if (this.#descriptor !== undefined) closeSync(this.#descriptor)
    this.#descriptor = undefined
  }

  #set(word: number, value: number): void {
    Atomics.store(this.#control, word, value)
    Atomics.notify(this.#control, word)
  }

  #onReport(report: TapReport): void {
    if (this.#isEnded) return
    if (report.kind === 'frames') {
      Atomics.sub(this.#control, TAP_CONTROL.framesWaiting, report.frames.length)
      Atomics.notify(this.#control, TAP_CONTROL.framesWaiting)
      for (const frame of report.frames) this.#events.onFrame(frame)
      return
    }
    if (this.#descriptor !== undefined) closeSync(this.#descriptor)
    this.#descriptor = undefined
    this.#events.onGone()
  }
}

function drain(descriptor: number): void {
  const reader = new TapReader(descriptor, FRAME_BYTES_MAX)
  for (let frames = 0; frames < DRAIN_FRAMES_MAX && reader.read() !== undefined; ) frames++
}
