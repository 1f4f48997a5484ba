/**
 * V8's sampling profiler for the thread that it is made on, by way of the inspector. It sees functions of WebAssembly by the
 * names that their modules give them.
 *
 * What is sampled is a tree of calls, in which translated code nests deeply and each way to a function counts; so it is taken
 * in pieces of a second, which bounds the memory, and costs less than a percent. Each piece begins with all code that there
 * is; of WebAssembly that V8 compiles anew meanwhile, its second tier, it was seen not to hear: that counts as its caller.
 */
import { Session } from 'node:inspector'

/** A function, and what it was called by: an index into the nodes, undefined at the root. */
export interface CallNode {
  /** V8's own, in parentheses, where there is no function: (program), (idle), (garbage collector). */
  readonly name: string
  /** `wasm://...` for WebAssembly; empty for what is built in. */
  readonly url: string
  readonly caller: number | undefined
  /** Milliseconds in the function itself. */
  readonly ms: number
}

/**
 * Measured on a guest that calls much: samples at 1 ms cost a tenth of the speed, since each walks through up to 255 frames; at
 * 4 ms it is some 5 %.
 */
const SAMPLE_US = 4000
const PIECE_MS = 1000

interface V8Node {
  readonly id: number
  readonly callFrame: { readonly functionName: string; readonly url: string }
  readonly children?: readonly number[]
}

interface V8Profile {
  readonly nodes: readonly V8Node[]
  /** Microseconds. */
  readonly startTime: number
  readonly endTime: number
  /** The node of each sample, and the microseconds from the one before, or the start, to it. */
  readonly samples?: readonly number[]
  readonly timeDeltas?: readonly number[]
}

export class CpuProfiler {
  readonly #session = new Session()
  readonly #onPiece: (nodes: readonly CallNode[]) => void
  #timer: NodeJS.Timeout | undefined

  /** `onPiece` gets what has been sampled, every second. */
  constructor(onPiece: (nodes: readonly CallNode[]) => void) {
    this.#onPiece = onPiece
  }

  start(): void {
    this.#session.connect()
    this.#post('Profiler.enable')
    this.#post('Profiler.setSamplingInterval', { interval: SAMPLE_US })
    this.#post('Profiler.start')
    this.#timer = setInterval(() => {
      this.#take()
      this.#post('Profiler.start')
    }, PIECE_MS)
    this.#timer.unref()
  }

  /** Hands in the last piece. Does nothing if it was not started, or has been stopped. */
  stop(): void {
    if (this.#timer === undefined) return
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#take()
    this.#session.disconnect()
  }

  #take(): void {
    const { profile } = this.#post('Profiler.stop') as { profile: V8Profile }
    this.#onPiece(callNodes(profile))
  }

  /** On the same thread the answer comes before the call returns. */
  #post(method: string, parameters?: object): unknown {
    let answer: unknown
    this.#session.post(method, parameters, (error, result) => {
      if (error !== null) throw error
      answer = result
    })
    return answer
  }
}

/** A sample stands for the time until the next one. */
export function callNodes({
  nodes,
  startTime,
  endTime,
  samples = [],
  timeDeltas = [],
}: V8Profile): CallNode[] {
  const indexes = new Map(nodes.map(({ id }, index) => [id, index]))
  const callers = new Array<number | undefined>(nodes.length)
  for (const [index, { children = [] }] of nodes.entries())
    for (const child of children) callers[indexes.get(child)!] = index
  const us = new Array<number>(nodes.length).fill(0)
  let now = startTime
  for (const [sample, id] of samples.entries()) {
    now += timeDeltas[sample]!
    const next = timeDeltas[sample + 1] ?? endTime - now
    const index = indexes.get(id)!
    us[index] = us[index]! + Math.max(0, next)
  }
  return nodes.map(({ callFrame: { functionName, url } }, index) => {
    return { name: functionName, url, caller: callers[index], ms: us[index]! / 1000 }
  })
}
