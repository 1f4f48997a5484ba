/**
 * Ways to write an interpreter in WebAssembly, measured on a toy:
 *
 *     node docs/decisions/measure/dispatch.ts PROGRAM_LENGTH [HANDLERS [skewed]]
 *
 * All execute the same predecoded program, a loop of PROGRAM_LENGTH instructions drawn from HANDLERS. An instruction is
 * eight bytes: handler u16, a u16, b u16, unused u16; it sets x[a] to x[a] op x[b] and takes one step.
 *
 *     switch   one function: a loop around a br_table; pointer and step count are its locals
 *     tree     the same with a binary tree of comparisons for the br_table, in which frequent handlers are near
 *     tail     one function for each handler, which ends in a return_call_indirect of the next; both are parameters
 *
 * Instructions are drawn evenly, or skewed: handler i is 1 / (i + 2) times as frequent.
 */
const PROGRAM_LENGTH = Number(process.argv[2] ?? 20)
const HANDLERS = Number(process.argv[3] ?? 300)
const WEIGHTS = Array.from({ length: HANDLERS }, (_, i) => (process.argv[4] === 'skewed' ? 1 / (i + 2) : 1))
const STEPS = 200_000_000
const ROUNDS = 5
const PROGRAM_ADDRESS = 4096
const PROGRAM_END = PROGRAM_ADDRESS + PROGRAM_LENGTH * 8

const I32 = 0x7f
const VOID = 0x40
/** i64.add, sub, mul, and, or, xor, shl, shr_u, rotl: handlers differ in this and in a constant. */
const OPERATIONS = [0x7c, 0x7d, 0x7e, 0x83, 0x84, 0x85, 0x86, 0x88, 0x89]

function leb(value: number): number[] {
  const low = value & 0x7f
  const rest = value >> 7
  const isLast = (rest === 0 && (low & 0x40) === 0) || (rest === -1 && (low & 0x40) !== 0)
  return isLast ? [low] : [low | 0x80, ...leb(rest)]
}

function unsigned(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)]
}

const vector = (items: readonly number[][]): number[] => [...unsigned(items.length), ...items.flat()]
const section = (id: number, content: readonly number[]): number[] => [
  id,
  ...unsigned(content.length),
  ...content,
]
const get = (local: number): number[] => [0x20, ...unsigned(local)]
const set = (local: number): number[] => [0x21, ...unsigned(local)]
const i32 = (value: number): number[] => [0x41, ...leb(value)]
const load16 = (offset: number): number[] => [...get(0), 0x2f, 1, ...unsigned(offset)]

/**
 * x[a] = (x[a] op x[b]) + constant; then the next instruction, and one step less. Locals: 0 entry, 1 steps, 2 handler.
 */
function handler(index: number): number[] {
  const operation = OPERATIONS[index % OPERATIONS.length]!
  return [
    ...load16(2),
    ...load16(2),
    ...[0x29, 3, 0],
    ...load16(4),
    ...[0x29, 3, 0],
    operation,
    ...[0x42, ...leb(index), 0x7c],
    ...[0x37, 3, 0],
    ...[...get(0), ...i32(8), 0x6a, ...set(0)],
    ...[...get(1), ...i32(1), 0x6b, ...set(1)],
    // Behind the last instruction: back to the first.
    ...[...get(0), ...i32(PROGRAM_END), 0x46, 0x04, VOID, ...i32(PROGRAM_ADDRESS), ...set(0), 0x0b],
  ]
}

/** One function with all handlers; `dispatch` goes to the label of one of them, of which number i is i blocks out. */
function loopBody(dispatch: readonly number[]): number[] {
  const open = Array.from({ length: HANDLERS }, () => [0x02, VOID]).flat()
  // In case i the blocks of the cases behind it are still open, then the loop.
  const cases = Array.from({ length: HANDLERS }, (_, i) => [
    0x0b,
    ...handler(i),
    0x0c,
    ...unsigned(HANDLERS - 1 - i),
  ]).flat()
  const done = [...get(1), 0x45, 0x04, VOID, 0x0f, 0x0b]
  return [0x03, VOID, ...done, ...open, ...dispatch, ...cases, 0x0b, 0x0b]
}

function switchBody(): number[] {
  const targets = Array.from({ length: HANDLERS }, (_, i) => unsigned(i)).flat()
  return loopBody([...load16(0), 0x0e, ...unsigned(HANDLERS), ...targets, 0])
}

/** Chooses among handlers first..end-1, `depth` blocks further in, by halves of equal weight. */
function treeOf(first: number, end: number, depth: number): number[] {
  if (end - first === 1) return [0x0c, ...unsigned(first + depth)]
  const half = WEIGHTS.slice(first, end).reduce((sum, weight) => sum + weight, 0) / 2
  let middle = first + 1
  for (let sum = WEIGHTS[first]!; middle < end - 1 && sum + WEIGHTS[middle]! / 2 < half; middle++) {
    sum += WEIGHTS[middle]!
  }
  const left = treeOf(first, middle, depth + 1)
  return [...get(2), ...i32(middle), 0x49, 0x04, VOID, ...left, 0x0b, ...treeOf(middle, end, depth)]
}

const treeBody = (): number[] => loopBody([...load16(0), ...set(2), ...treeOf(0, HANDLERS, 0)])

function tailBody(index: number): number[] {
  const done = [...get(1), 0x45, 0x04, VOID, 0x0f, 0x0b]
  return [...handler(index), ...done, ...get(0), ...get(1), ...load16(0), 0x13, 0, 0, 0x0b]
}

function moduleOf(bodies: readonly number[][], withTable: boolean): Uint8Array<ArrayBuffer> {
  const functions = bodies.map((body) => [...unsigned(body.length + 3), 1, 1, I32, ...body])
  const elements = [0, ...i32(0), 0x0b, ...vector(bodies.map((_, i) => unsigned(i)))]
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, vector([[0x60, 2, I32, I32, 0]])),
    ...section(2, vector([[1, 0x65, 1, 0x6d, 2, 0, 2]])),
    ...section(3, vector(bodies.map(() => [0]))),
    ...(withTable ? section(4, vector([[0x70, 0, ...unsigned(bodies.length)]])) : []),
    ...section(7, vector(bodies.map((_, i) => [...name(`f${i}`), 0, ...unsigned(i)]))),
    ...(withTable ? section(9, vector([elements])) : []),
    ...section(10, vector(functions)),
  ])
}

const name = (text: string): number[] => vector([...text].map((letter) => [letter.charCodeAt(0)]))

/** The same program for all: handlers and registers by a fixed linear congruence. */
function loadProgram(memory: WebAssembly.Memory): number {
  const view = new DataView(memory.buffer)
  let state = 1
  const draw = (below: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return (state >>> 8) % below
  }
  const total = WEIGHTS.reduce((sum, weight) => sum + weight, 0)
  const drawHandler = (): number => {
    let rest = (draw(1_000_000) / 1_000_000) * total
    const found = WEIGHTS.findIndex((weight) => {
      rest -= weight
      return rest < 0
    })
    return found < 0 ? HANDLERS - 1 : found
  }
  for (let at = PROGRAM_ADDRESS; at < PROGRAM_END; at += 8) {
    view.setUint16(at, drawHandler(), true)
    view.setUint16(at + 2, draw(32) * 8, true)
    view.setUint16(at + 4, draw(32) * 8, true)
  }
  return view.getUint16(PROGRAM_ADDRESS, true)
}

function measure(kind: string, bytes: Uint8Array<ArrayBuffer>, start: (first: number) => string): void {
  const memory = new WebAssembly.Memory({ initial: 2 })
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { e: { m: memory } })
  const entry = exports[start(loadProgram(memory))] as (entry: number, steps: number) => void
  const speeds = Array.from({ length: ROUNDS }, () => {
    const before = process.threadCpuUsage().user
    entry(PROGRAM_ADDRESS, STEPS)
    return Math.round(STEPS / (process.threadCpuUsage().user - before))
  })
  const sum = new BigUint64Array(memory.buffer, 0, 32).reduce((total, value) => total ^ value, 0n)
  console.log(`${kind.padEnd(8)}${speeds.join(' ')} million steps/s (registers 0x${sum.toString(16)})`)
}

measure('switch', moduleOf([switchBody()], false), () => 'f0')
measure('tree', moduleOf([treeBody()], false), () => 'f0')
const tails = Array.from({ length: HANDLERS }, (_, index) => tailBody(index))
measure('tail', moduleOf(tails, true), (first) => `f${first}`)
