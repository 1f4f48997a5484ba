/**
 * The thread that reads frames from a TAP. It never blocks in a read, in which it could not be ended, but in a poll with a
 * timeout.
 *
 *     waiting --a descriptor is given--> reading --the interface has gone--> waiting
 *
 * Whoever has started it closes the descriptor, when this thread has let go of it.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { assert } from '../base/assert.ts'
import { TapReader } from './tap_device.ts'
import { FRAME_BYTES_MAX, TAP_CONTROL } from './tap_memory.ts'

export type TapReport =
  | { readonly kind: 'frames'; readonly frames: readonly Uint8Array[] }
  | { readonly kind: 'gone' }

/** How long the end of the process may have to wait for this thread. */
const POLL_MS = 100
/** Frames that wait in the main thread's queue; more stay with the kernel, which loses what it has no room for. */
const FRAMES_WAITING_MAX = 1024
const FRAMES_PER_REPORT = 64

function run(control: Int32Array, report: (report: TapReport) => void): void {
  while (Atomics.load(control, TAP_CONTROL.isEnded) === 0) {
    const given = Atomics.load(control, TAP_CONTROL.descriptor)
    if (given === 0) {
      Atomics.wait(control, TAP_CONTROL.descriptor, 0)
      continue
    }
    read(new TapReader(given - 1, FRAME_BYTES_MAX), control, report)
    Atomics.store(control, TAP_CONTROL.descriptor, 0)
    report({ kind: 'gone' })
  }
}

/** Until the interface has gone, or the thread is to end. */
function read(reader: TapReader, control: Int32Array, report: (report: TapReport) => void): void {
  while (Atomics.load(control, TAP_CONTROL.isEnded) === 0) {
    Atomics.wait(control, TAP_CONTROL.isHeld, 1, POLL_MS)
    if (Atomics.load(control, TAP_CONTROL.isHeld) === 1) continue
    const waiting = Atomics.load(control, TAP_CONTROL.framesWaiting)
    if (waiting >= FRAMES_WAITING_MAX) {
      Atomics.wait(control, TAP_CONTROL.framesWaiting, waiting, POLL_MS)
      continue
    }
    const came = reader.wait(POLL_MS)
    if (came === 'gone') return
    if (came === 'frame') readSome(reader, control, report)
  }
}

function readSome(reader: TapReader, control: Int32Array, report: (report: TapReport) => void): void {
  const frames: Uint8Array[] = []
  for (let frame = reader.read(); frame !== undefined; frame = reader.read()) {
    frames.push(frame.slice())
    if (frames.length === FRAMES_PER_REPORT) break
  }
  if (frames.length === 0) return
  Atomics.add(control, TAP_CONTROL.framesWaiting, frames.length)
  report({ kind: 'frames', frames })
}

const port = parentPort
assert(port !== null, 'the thread of a TAP has no parent')
run(workerData as Int32Array, (report) => port.postMessage(report))
