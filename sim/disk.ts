/**
 * A host's disk. It outlives processes and power cuts, as far as disks do:
 *
 *     running requests --finished--> in the cache --flush--> durable
 *
 * A process that dies loses its running requests, in any part; a power cut loses the cache as well, any block of it.
 *
 * One *generation* at a time is on it: the content that belongs to one copy of the machine. A joining copy voids it
 * before it writes the first byte, and names the new one when all has been synced; what is half written has no name.
 */
import { assert } from '../src/base/assert.ts'
import type { Random } from '../src/base/prng.ts'
import type { DiskRequest } from './machine_ports.ts'
import type { World } from './world.ts'

/** What a write tears into, in bytes. */
export const BLOCK_BYTES = 16

export interface DiskResult {
  readonly status: 'ok' | 'error'
  /** Of a read that succeeded. */
  readonly data: Uint8Array | undefined
}

export interface DiskShape {
  readonly requestMs: number
  readonly jitterMs: number
  readonly flushMs: number
}

interface Running {
  readonly request: DiskRequest
  readonly endMs: number
}

export class Disk {
  /** What a new machine's disk holds: its base image. */
  readonly #base: Uint8Array
  readonly #world: World
  readonly #random: Random
  readonly #shape: DiskShape
  /** What a read finds. */
  #content: Uint8Array
  /** What a power cut leaves for certain. */
  #durable: Uint8Array
  /** Writes that are in the content and not durable. */
  #unsynced: DiskRequest[] = []
  #running = new Set<Running>()
  /** Raised by every loss: whoever waited for something from before does so in vain. */
  #session = 0
  #generation: string | undefined
  /** What was on it before its present generation: somebody has kept a copy. */
  #former: { readonly content: Uint8Array; readonly generation: string } | undefined
  /** How much longer everything takes: a fault. */
  slowness = 1
  /** The probability that a request fails: a fault. */
  failing = 0

  constructor(world: World, random: Random, shape: DiskShape, base: Uint8Array) {
    this.#world = world
    this.#random = random
    this.#shape = shape
    this.#base = base
    this.#content = base.slice()
    this.#durable = base.slice()
  }

  /** Which copy's content is whole on it; undefined if none is. */
  get generation(): string | undefined {
    return this.#generation
  }

  /** A copy of what a read would find. */
  content(): Uint8Array {
    return this.#content.slice()
  }

  /** A new machine's disk. */
  format(generation: string): void {
    this.#content = this.#base.slice()
    this.#durable = this.#base.slice()
    this.#unsynced = []
    this.#generation = generation
  }

  /** Another disk, with nothing on it. */
  wipe(): void {
    this.format('')
    this.#generation = undefined
  }

  /** Whether there is a copy of what was on it before its present generation. */
  get hasFormer(): boolean {
    return this.#former !== undefined
  }

  /** That copy is put in its place. */
  restoreFormer(): void {
    const { content, generation } = this.#former!
    this.format(generation)
    this.#content = content.slice()
    this.#durable = content.slice()
  }

  /** Everything in the cache becomes durable, at once: what a process does when it opens the disk to boot from it. */
  sync(): void {
    this.#durable = this.#content.slice()
    this.#unsynced = []
  }

  /** Lets a request run. `onDone` is not called if the process or the power is lost before. */
  submit(request: DiskRequest, onDone: (result: DiskResult) => void): void {
    const { nowMs } = this.#world
    const own = request.kind === 'flush' ? this.#shape.flushMs : this.#shape.requestMs
    const ownMs = (own + this.#random.fraction() * this.#shape.jitterMs) * this.slowness
    let endMs = nowMs + ownMs
    for (const other of this.#running) {
      if (mustFollow(request, other.request)) endMs = Math.max(endMs, other.endMs)
    }
    const running = { request, endMs }
    this.#running.add(running)
    const session = this.#session
    this.#world.after(endMs - nowMs, () => {
      if (session !== this.#session) return
      this.#running.delete(running)
      onDone(this.#carryOut(request))
    })
  }

  /** Starts to replace the content by that of another copy: until `finishInstall` the disk has no generation. */
  beginInstall(content: Uint8Array): void {
    assert(content.length === this.#content.length, 'a disk of another size')
    const generation = this.#generation
    if (generation !== undefined) this.#former = { content: this.#durable.slice(), generation }
    this.#generation = undefined
    this.#unsynced = []
    for (let at = 0; at < content.length; at += BLOCK_BYTES) {
      if (this.#random.chance(0.5)) this.#content.set(content.subarray(at, at + BLOCK_BYTES), at)
    }
    this.#durable = this.#content.slice()
  }

  finishInstall(content: Uint8Array, generation: string): void {
    this.#content = content.slice()
    this.#durable = content.slice()
    this.#generation = generation
  }

  /** How long it takes to write everything, in milliseconds. */
  installMs(): number {
    return (this.#shape.flushMs * 2 + this.#random.fraction() * 20) * this.slowness
  }

  /** The process that used it is gone: what ran may have been done, or in part. */
  onProcessLost(): void {
    this.#session++
    for (const { request } of this.#running) {
      if (request.kind === 'write') this.#tear(this.#content, request, true)
    }
    this.#running.clear()
  }

  /** The power is gone: of what was not synced, any block may be lost. */
  onPowerLost(): void {
    this.onProcessLost()
    for (const request of this.#unsynced) this.#tear(this.#durable, request, false)
    this.#unsynced = []
    this.#content = this.#durable.slice()
  }

  #carryOut(request: DiskRequest): DiskResult {
    if (this.failing > 0 && this.#random.chance(this.failing)) return { status: 'error', data: undefined }
    const { kind, offset, length, bytes } = request
    if (kind === 'read') return { status: 'ok', data: this.#content.slice(offset, offset + length) }
    if (kind === 'write') {
      this.#content.set(bytes, offset)
      this.#unsynced.push(request)
    } else {
      this.sync()
    }
    return { status: 'ok', data: undefined }
  }

  /** Puts any blocks of a write into `target`. */
  #tear(target: Uint8Array, { offset, bytes }: DiskRequest, isNew: boolean): void {
    const mode = this.#random.below(3)
    if (mode === 0) return
    for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
      if (mode === 2 && this.#random.chance(0.5)) continue
      target.set(bytes.subarray(at, at + BLOCK_BYTES), offset + at)
      if (!isNew) continue
      const block = bytes.slice(at, at + BLOCK_BYTES)
      this.#unsynced.push({
        kind: 'write',
        number: 0,
        offset: offset + at,
        length: block.length,
        bytes: block,
      })
    }
  }
}

/** Whether a request may not end before an earlier one has: flushes wait for writes, and so does what overlaps one. */
function mustFollow(request: DiskRequest, earlier: DiskRequest): boolean {
  if (request.kind === 'flush') return earlier.kind === 'write'
  if (earlier.kind === 'flush') return false
  if (request.kind === 'read' && earlier.kind === 'read') return false
  return request.offset < earlier.offset + earlier.length && earlier.offset < request.offset + request.length
}
