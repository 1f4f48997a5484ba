/**
 * A region: the blocks that can be reached from an entry (control_flow.ts), as one function (chain.ts has the signature).
 *
 * Registers are in local variables while they are needed (register_flow.ts); on its ways out it stores those that it has
 * changed. A block takes its steps at its start. Whether enough are left is looked at now and then, for all that may come
 * before the next look; if not, the region is left there.
 *
 *     resync   to the hart's pc, by the slow way        chain   to the pc in `target`, maybe into another region
 *     back     to what has called this, which waits for it at `returnTo`
 *     short    to the pc in `target`, in the interpreter, by the slow way as well
 */

import { assert } from '../../base/assert.ts'
import { fillHoles, signedLeb32 } from '../../wasm/encoding.ts'
import { f64, holeConstant, type I32, type I64, i32, i64, select } from '../../wasm/expression.ts'
import {
  type Callee,
  call,
  type FunctionBody,
  FunctionBuilder,
  type Label,
  type Local,
} from '../../wasm/function.ts'
import type { ModuleBuilder } from '../../wasm/module.ts'
import { hart32, machine32, setHart64, setMachine32, setMachine64 } from '../fields.ts'
import {
  BANK_FETCH,
  CODE_ENTRY_BYTES,
  CODE_SLOT_BYTES,
  CURRENT_REGISTERS,
  FETCH_ENTRIES,
  HART_F,
  HART_X,
  type Layout,
  PAGE_BYTES,
} from '../layout.ts'
import { GROUPS_MAX } from './access_groups.ts'
import { offsetOf, takenInOf } from './block_end.ts'
import { elsewhere, REGION_PARAMETERS } from './chain.ts'
import { type Block, type Flow, successors, type TakenIn } from './control_flow.ts'
import { FilledOperands, type RegionPaths, type RegionVariables } from './filled_operands.ts'
import { loadFloatState } from './float_state.ts'
import type { Linkage } from './linkage.ts'
import {
  FLOAT_STATE,
  findRegisterFlow,
  mayLeave,
  NOTHING_VALID,
  type RegisterFlow,
  type Registers,
  type RegistersAt,
  without,
} from './register_flow.ts'
import { buildFlowGraph, type FlowGraph } from './structure.ts'

/** What a region calls. */
export interface RegionParts {
  readonly linkage: Linkage
  /** Goes on at a pc (chain.ts). */
  readonly chain: Callee
  readonly layout: Layout
}

/**
 * Emits the region that begins at `entry`. Nothing in its code says where in RAM it is; where it depends on the page of a function that is
 * taken in, there is a hole, with the number of that function.
 */
export function emitRegion(parts: RegionParts, entry: number, flow: Flow): EmittedRegion {
  const { blocks } = flow
  const behindCalls = new Set(
    [...blocks.values()].flatMap(({ end }) => (end.kind === 'call' ? [end.next] : [])),
  )
  const graph = buildFlowGraph(
    entry,
    (start) => blocks.has(start),
    (start) => successors(blocks.get(start)!, flow),
    { isWayIn: (start) => behindCalls.has(start), waysInMax: ENTRIES_MAX - 1 },
  )
  const f = new FunctionBuilder(REGION_PARAMETERS)
  new RegionEmitter(parts, f, graph, flow).emit()
  const ways = graph.nodes.flatMap((start) => graph.waysInUnder(start).map(({ node }) => node))
  const led = new Set(graph.waysInUnder(entry).flatMap(({ node, below }) => [node, ...below]))
  assert(ways.length < ENTRIES_MAX && ways.every((way) => led.has(way)), 'no way leads to each way in')
  const entries = [entry, ...ways]
  assert(
    entries.every((place) => takenInOf(place) === 0),
    'a region would be entered in what it has taken in',
  )
  const joins = entries.filter((place) => place !== entry || graph.isLoopHead(place))
  return { body: { localTypes: f.localTypes, code: f.code }, entries, joins }
}

/** Has a region in a module, as a function of that name; `pages` has those of what is taken in, in the order of their numbers. */
export function placeRegion(
  module: ModuleBuilder,
  name: string,
  { localTypes, code }: FunctionBody,
  pages: readonly number[],
): Callee {
  // Where the page stands in a table of numbers of 16 bits.
  const placed = fillHoles(code, (number) => signedLeb32(pages[number - 1]! * 2))
  return module.function(name, REGION_PARAMETERS, ['i32'], (f) => f.paste({ localTypes, code: placed }))
}

export interface EmittedRegion {
  readonly body: FunctionBody
  /**
   * Where it can be entered: at its entry, and at the head of each loop, where loops were entered elsewhere, and behind calls of what
   * is elsewhere, so that what stops in a loop or in what is called can go on there.
   */
  readonly entries: readonly number[]
  /** Those at which another region may go on in this one: all but a beginning to which no loop comes back. */
  readonly joins: readonly number[]
}

/** A region has no more ways in: for each an instruction is kept. The interpreter soon meets one of them. */
const ENTRIES_MAX = 32

/** There is no way to take any more. */
const NOWHERE = -1

/** More calls of translated code by translated code are not in progress: they go on the engine's stack. */
const CALLS_MAX = 400

interface Exits {
  readonly back: Label
  readonly resync: Label
  readonly chain: Label
  readonly short: Label
}

class RegionEmitter {
  readonly #parts: RegionParts
  readonly #f: FunctionBuilder
  readonly #graph: FlowGraph
  readonly #blocks: ReadonlyMap<number, Block>
  readonly #returns: readonly number[]
  readonly #takenIn: readonly TakenIn[]
  /** Blocks that are not begun with fewer steps than these. */
  readonly #needed: ReadonlyMap<number, number>
  readonly #registers: RegisterFlow
  readonly #v: RegionVariables
  readonly #operands: FilledOperands
  /** Where a branch to a block goes that has been opened: the start of a loop, or the end of what precedes it. */
  readonly #heads = new Map<number, Label>()
  readonly #merges = new Map<number, Label>()
  readonly #emitted = new Set<number>()
  /** The registers where code is being emitted. */
  #at: RegistersAt = NOTHING_VALID
  #exits: Exits | undefined

  constructor(parts: RegionParts, f: FunctionBuilder, graph: FlowGraph, { blocks, returns, takenIn }: Flow) {
    this.#parts = parts
    this.#f = f
    this.#graph = graph
    this.#blocks = blocks
    this.#returns = returns
    this.#takenIn = takenIn
    this.#needed = stepsNeeded(graph, blocks)
    this.#registers = findRegisterFlow(graph, blocks)
    this.#v = declareVariables(f, this.#registers.used, takenIn.length)
    this.#operands = new FilledOperands(f, this.#v, parts.linkage, parts.layout.pageFlags)
  }

  emit(): void {
    const f = this.#f
    const v = this.#v
    f.set(v.bank, hart32(v.hart, 'dataBank'))
    f.set(v.entry, i32.and(i32.wrap(v.page), PAGE_BYTES - 1))
    f.set(v.page, i64.and(v.page, -PAGE_BYTES))
    const [first] = this.#graph.nodes
    f.set(v.entry, select(i32.eq(v.entry, first!), i32.const(NOWHERE), v.entry))
    this.#load(this.#registers.at(first!).start.valid)
    f.block((resync) => {
      f.block((short) => {
        f.block((chain) => {
          f.block((back) => {
            this.#exits = { resync, chain, short, back }
            this.#tree(first!)
          })
          f.return(v.steps)
        })
        f.returnCall(this.#parts.chain, v.hart, v.steps, v.target, v.depth, v.returnTo)
      })
      setHart64(f, v.hart, 'pc', v.target)
      setMachine32(f, 'remaining', v.steps)
    })
    setMachine32(f, 'regionResync', 1)
    f.return(elsewhere(machine32('remaining')))
  }

  /** A block and all that it dominates. */
  #tree(start: number): void {
    assert(!this.#emitted.has(start), `a block is emitted twice: ${start}`)
    this.#emitted.add(start)
    if (!this.#graph.isLoopHead(start)) return this.#within(start, this.#graph.mergesUnder(start))
    this.#f.loop((head) => {
      this.#heads.set(start, head)
      this.#within(start, this.#graph.mergesUnder(start))
    })
  }

  /** The block inside of blocks that are left to where its paths meet again, the last meeting place outermost. */
  #within(start: number, merges: readonly number[]): void {
    const [last, ...others] = merges
    if (last === undefined) return this.#emitBlock(this.#blocks.get(start)!)
    this.#f.block((end) => {
      this.#merges.set(last, end)
      this.#within(start, others)
    })
    this.#tree(last)
  }

  #emitBlock(block: Block): void {
    const f = this.#f
    const { steps } = this.#v
    const { start, loads, inside } = this.#registers.at(block.start)
    this.#at = start
    this.#emitWayIn(block.start)
    const length = block.instructions.length
    const needed = this.#needed.get(block.start)
    if (needed !== undefined)
      f.ifUnlikely(i32.lt_s(steps, needed), () => this.#leave(block.start, this.#exits!.short))
    f.set(steps, i32.sub(steps, length))
    this.#load(loads)
    this.#at = inside
    this.#operands.beginBlock(block.instructions)
    if (!block.instructions.some(({ op }) => mayLeave[op]!))
      return this.#emitInstructions(block, this.#exits!.resync)
    f.block((resync) => this.#emitInstructions(block, resync))
    this.#store(inside.dirty)
    f.br(this.#exits!.resync)
  }

  #emitInstructions(block: Block, resync: Label): void {
    const paths = { ...this.#pathsOf(block), resync }
    for (const [index, instruction] of block.instructions.entries())
      this.#operands.emit(instruction, block.instructions.length - 1 - index, paths)
    this.#emitEnd(block)
  }

  /** The way to the node at which the region has been entered, by the heads of loops around it. */
  #emitWayIn(start: number): void {
    const ways = this.#graph.waysInUnder(start)
    if (ways.length === 0) return
    const places = ways.flatMap(({ node, below }) => [node, ...below].map((place) => ({ place, node })))
    places.sort((one, other) => one.place - other.place)
    this.#f.ifUnlikely(i32.ge_s(this.#v.entry, 0), () => this.#enterOneOf(start, places))
  }

  #enterOneOf(start: number, places: readonly { readonly place: number; readonly node: number }[]): void {
    const f = this.#f
    const { entry } = this.#v
    const [{ place, node }, other] = [places[0]!, places[1]]
    if (other === undefined) {
      if (place === node) f.set(entry, NOWHERE)
      return this.#goTo(start, node)
    }
    const middle = places.length >> 1
    f.if(
      i32.lt_s(entry, places[middle]!.place),
      () => this.#enterOneOf(start, places.slice(0, middle)),
      () => this.#enterOneOf(start, places.slice(middle)),
    )
  }

  #pathsOf(block: Block): Omit<RegionPaths, 'resync'> {
    const { end } = block
    return {
      taken: () => {
        if (end.kind === 'branch') this.#goTo(block.start, end.taken)
        else if (end.kind === 'call') this.#call(block, this.#pcOf(end.target!))
        else if (end.kind === 'jump') this.#goTo(block.start, end.target)
      },
      goTo: (target) => this.#goToAddress(block, target),
    }
  }

  /** What comes behind the last instruction; jumps have left by themselves. */
  #emitEnd({ start, end }: Block): void {
    if (end.kind === 'fall' || end.kind === 'branch') this.#goTo(start, end.next)
    else if (end.kind === 'leave') this.#leave(end.at, this.#exits!.chain)
  }

  #goTo(from: number, to: number): void {
    const f = this.#f
    if (!this.#blocks.has(to) || !this.#graph.hasEdge(from, to)) return this.#leave(to, this.#exits!.chain)
    const at = this.#at
    const { valid, dirty } = this.#registers.at(to).start
    this.#store(without(at.dirty, dirty))
    this.#load(without(valid, at.valid))
    if (this.#graph.isBack(from, to)) return f.br(this.#heads.get(to)!)
    if (this.#graph.isMerge(to)) return f.br(this.#merges.get(to)!)
    this.#tree(to)
    this.#at = at
  }

  /** Leaves the region, to go on at a place of its page, or relative to it. */
  #leave(to: number, exit: Label): void {
    this.#store(this.#at.dirty)
    this.#f.set(this.#v.target, this.#pcOf(to))
    this.#f.br(exit)
  }

  /** To an address in a register: of a far jump, which is known, or of a return, most likely behind a call of this region. */
  #goToAddress(block: Block, target: Local<'i64'>): void {
    const f = this.#f
    const { start, end } = block
    if (end.kind === 'jump') return this.#goTo(start, end.target)
    if (end.kind === 'call') return this.#call(block, target)
    const isReturn = end.kind === 'indirect' && end.isReturn
    for (const place of isReturn ? successors(block, { returns: this.#returns }) : []) {
      if (!this.#graph.hasEdge(start, place)) continue
      f.if(i64.eq(target, this.#pcOf(place)), () => this.#goTo(start, place))
    }
    if (end.kind === 'indirect' && !isReturn) this.#goToKnown(block, end.targets, target)
    this.#store(this.#at.dirty)
    if (isReturn) f.brIf(this.#exits!.back, i64.eq(target, this.#v.returnTo))
    f.br(this.#exits!.chain)
  }

  /** To one of the known targets of a jump to an address in a register, if it is one of them. */
  #goToKnown(block: Block, known: readonly number[], target: Local<'i64'>): void {
    const f = this.#f
    const { page, offset } = this.#v
    const { start } = block
    const targets = known.filter((to) => this.#graph.hasEdge(start, to))
    if (targets.length > 0) {
      const [low, high] = [Math.min(...targets), Math.max(...targets)]
      const places = Array.from({ length: (high - low) / 2 + 1 }, (_, index) =>
        targets.indexOf(low + index * 2),
      )
      f.set(offset, i32.shr_u(i32.wrap(i64.sub(target, i64.add(page, low))), 1))
      const isNear = i64.le_u(i64.sub(target, i64.add(page, low)), high - low)
      f.ifLikely(isNear, () =>
        f.cases([...targets.map((to) => () => this.#goTo(start, to)), () => {}], (starts) => {
          const unknown = starts[targets.length]!
          const labels = places.map((place) => starts[place] ?? unknown)
          f.brTable(offset, labels, unknown)
        }),
      )
    }
    this.#noteUnknown(block, target)
  }

  /** For the profile: a jump to an address in a register that the region does not expect. */
  #noteUnknown({ instructions }: Block, target: Local<'i64'>): void {
    const f = this.#f
    setMachine64(f, 'jumpedFrom', this.#pcOf(instructions.at(-1)!.offset))
    setMachine64(f, 'jumpedTo', target)
    setMachine32(f, 'unknownJumps', i32.add(machine32('unknownJumps'), 1))
  }

  /** Goes on in a function that is taken in, if it is what is called. */
  #enterTakenIn(start: number, into: number, target: Local<'i64'>): void {
    const f = this.#f
    const { hart, slot, pages } = this.#v
    const number = takenInOf(into)
    const index = i32.shl(i32.and(i32.wrap(i64.shr_u(target, 12)), FETCH_ENTRIES - 1), 4)
    f.set(slot, i32.add(hart32(hart, 'fetchBank'), index))
    const page = i64.and(target, -PAGE_BYTES)
    const isMapped = i64.eq(i64.load(slot, { offset: BANK_FETCH }), page)
    const inSlot = i32.shl(i32.and(i32.wrap(target), PAGE_BYTES - 1), 2)
    const entry = i32.add(i32.load(slot, { offset: BANK_FETCH + 8 }), inSlot)
    const isIt = i32.eq(entry, this.#predecoded(number))
    // An atomic goes on though it has dropped translations, that of the page to come back to perhaps: nobody looks there.
    const isSure = i32.eqz(machine32('resync'))
    f.ifLikely(i32.and(i32.and(isMapped, isIt), isSure), () => {
      f.set(pages[number]!, page)
      this.#goTo(start, into)
    })
  }

  /** Where what is taken in is predecoded now; before the first slot if it is not. */
  #predecoded(number: number): I32 {
    const { codeSlots, pageCodeSlot } = this.#parts.layout
    const { offset } = this.#takenIn[number - 1]!.code
    const slot = i32.load16_u(holeConstant(number), { offset: pageCodeSlot })
    const first = codeSlots - CODE_SLOT_BYTES + (offset / 2) * CODE_ENTRY_BYTES
    return i32.add(i32.mul(slot, CODE_SLOT_BYTES), first)
  }

  /** Calls what is elsewhere. If it does not come back here, whoever called this comes back as well. */
  #call(block: Block, address: I64): void {
    const f = this.#f
    const { hart, steps, depth, target } = this.#v
    const { start, end } = block
    assert(end.kind === 'call', 'a block without a call')
    const { into, next } = end
    const at = this.#at
    f.set(target, address)
    if (into !== undefined) this.#enterTakenIn(start, into, target)
    if (end.target === undefined) this.#noteUnknown(block, target)
    this.#store(at.dirty)
    f.brIf(this.#exits!.chain, i32.ge_u(depth, CALLS_MAX), 'unlikely')
    const values = [hart, steps, target, i32.add(depth, 1), this.#pcOf(next)]
    f.set(steps, call<'i32'>(this.#parts.chain, ...values))
    f.ifUnlikely(i32.lt_s(steps, 0), () => f.return(steps))
    this.#at = NOTHING_VALID
    // As above.
    f.ifUnlikely(machine32('resync'), () => this.#leave(next, this.#exits!.short))
    // What was called may have opened the memory of user space, or closed it.
    f.set(this.#v.bank, hart32(hart, 'dataBank'))
    this.#goTo(start, next)
    this.#at = at
  }

  /** The address of a place. */
  #pcOf(place: number): I64 {
    return i64.add(this.#v.pages[takenInOf(place)]!, offsetOf(place))
  }

  #load(registers: Registers): void {
    const f = this.#f
    const { hart, float } = this.#v
    if ((registers.x & FLOAT_STATE.x) !== 0) loadFloatState(f, hart, this.#parts.linkage.fflags, float)
    for (const [offset, local] of this.#places(registers))
      f.set(local, local.type === 'i64' ? i64.load(0, { offset }) : f64.load(0, { offset }))
  }

  #store(registers: Registers): void {
    for (const [offset, local] of this.#places(registers)) this.#f.store(local.type, 0, local, { offset })
  }

  /** Where registers stand in memory, with their local variables. */
  *#places({ x, f }: Registers): Generator<[number, Local<'i64'> | Local<'f64'>]> {
    for (let number = 0; number < 32; number++) {
      if (number > 0 && (x >>> number) & 1)
        yield [CURRENT_REGISTERS + HART_X + number * 8, this.#v.x[number]!]
      if ((f >>> number) & 1) yield [CURRENT_REGISTERS + HART_F + number * 8, this.#v.f[number]!]
    }
  }
}

/** Blocks are not asked for together if that makes more steps than these: fewer that are left of a slice are the interpreter's. */
const STEPS_NEEDED_MAX = 64

/**
 * Where to look at the steps left: at the entry and other ways in, at heads of loops and behind calls, for all that can be
 * executed from there to the next such place; and behind what would be too much at once.
 */
function stepsNeeded(graph: FlowGraph, blocks: ReadonlyMap<number, Block>): Map<number, number> {
  const needed = new Map<number, number>()
  const checked = new Set(graph.nodes.filter((start, index) => index === 0 || graph.isLoopHead(start)))
  for (const start of graph.nodes) for (const { node } of graph.waysInUnder(start)) checked.add(node)
  for (const { end } of blocks.values()) if (end.kind === 'call') checked.add(end.next)
  for (const start of graph.nodes.toReversed()) {
    const { length } = blocks.get(start)!.instructions
    const next = graph.nextOf(start).filter((to) => !graph.isBack(start, to))
    const behind = next.filter((to) => !checked.has(to)).map((to) => needed.get(to)!)
    const whole = length + Math.max(0, ...behind)
    if (whole > STEPS_NEEDED_MAX) for (const to of next) checked.add(to)
    needed.set(start, whole > STEPS_NEEDED_MAX ? length : whole)
  }
  for (const start of graph.nodes) if (!checked.has(start)) needed.delete(start)
  return needed
}

function declareVariables(f: FunctionBuilder, used: Registers, takenIn: number): RegionVariables {
  const locals = <T extends 'i64' | 'f64'>(type: T, set: number): (Local<T> | undefined)[] =>
    Array.from({ length: 32 }, (_, number) => ((set >>> number) & 1 ? f.local(type) : undefined))
  const page = f.parameter(2, 'i64')
  return {
    hart: f.parameter(0, 'i32'),
    steps: f.parameter(1, 'i32'),
    page,
    pages: [page, ...Array.from({ length: takenIn }, () => f.local('i64'))],
    bank: f.local('i32'),
    depth: f.parameter(3, 'i32'),
    returnTo: f.parameter(4, 'i64'),
    entry: f.local('i32'),
    slot: f.local('i32'),
    status: f.local('i32'),
    offset: f.local('i32'),
    groups: Array.from({ length: GROUPS_MAX }, () => f.local('i32')),
    scratch32: [f.local('i32'), f.local('i32')],
    float: { isDirty: f.local('i32'), limit: f.local('i32'), mode: f.local('i32') },
    target: f.local('i64'),
    value: f.local('i64'),
    address: f.local('i64'),
    scratch64: [f.local('i64'), f.local('i64'), f.local('i64')],
    x: locals('i64', used.x & ~FLOAT_STATE.x),
    f: locals('f64', used.f),
  }
}
