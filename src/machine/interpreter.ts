/**
 * The interpreter: the meanings of all instructions with the operands left open, in one loop.
 *
 *     run(hart, steps) -> steps left
 *
 *     resync     pc is in the hart; look at exit requests, interrupts and banks, then translate pc
 *       arrive   `target` is a pc; find its predecoded instruction through the fetch entries
 *         dispatch   execute the instruction at `entry`, until something is not plain
 *
 * While instructions follow each other, only `entry` moves: pc = delta + entry / 4, since a halfword of code has eight
 * bytes of predecoded form. `base` is the start of the code slot, so that a jump within the page is an addition; it is
 * NO_SLOT while an instruction executes from the hart's own place (HART_STRADDLE).
 *
 * Every dispatched instruction takes one step, as does every interrupt entry and every fetch that faults. A handler
 * that turns out not to be an instruction gives its step back.
 *
 * The dispatch is a tree of comparisons that finds the frequent handlers, and a br_table for the others.
 */
import { type I32, type I64, i32, i64 } from '../wasm/expression.ts'
import {
  type Callee,
  call,
  callIndirect,
  type FunctionBuilder,
  type Global,
  type Label,
  type TableReference,
} from '../wasm/function.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import { type DispatchTree, leavesOf } from './dispatch_tree.ts'
import type { MeaningFunctions } from './emitter.ts'
import { hart32, hart64, machine32, setHart32, setHart64, setMachine32 } from './fields.ts'
import {
  coldHandlers,
  dispatchTree,
  HANDLER,
  type HandlerVariant,
  handlerNumber,
  instructionHandlers,
} from './handlers.ts'
import {
  BANK_FETCH,
  CODE_ENTRY_BYTES,
  CURRENT_REGISTERS,
  EXIT,
  FETCH_ENTRIES,
  HART_STRADDLE,
  type Layout,
  MACHINE,
  REGION_ENTRY,
  REGISTER_BYTES,
} from './layout.ts'
import { meanings } from './meaning/meanings.ts'
import { clearResync, FETCH_TRAPPED, pageOfSlot, type SlowMemory } from './memory.ts'
import { type Labels, OpenOperands, pcOf, type Variables } from './open_operands.ts'
import { elsewhere, RETURN_NOWHERE } from './translator/chain.ts'
import { pendingInterrupts, type Traps } from './trap.ts'
import type { Watch } from './watch.ts'

/** A base that no entry is near to: memory 0 is smaller. */
const NO_SLOT = 0x8000_0000 | 0

export interface InterpreterParts {
  readonly layout: Layout
  readonly memory: SlowMemory
  readonly watch: Watch
  readonly traps: Traps
  readonly functions: MeaningFunctions
  readonly updateBanks: Callee
  readonly csrAccess: Callee
  readonly raiseIllegal: Callee
  /** decodeRun(entry): fills predecoded instructions from this entry on. */
  readonly decodeRun: Callee
  readonly decodeStraddle: Callee
  /** The running hart's fflags. */
  readonly fflags: Global<'i32'>
  readonly regions: TableReference
  /** The signature of a region (translator/chain.ts). */
  readonly regionType: number
}

/** run(hart, steps) -> steps left; the reason is in machine.exit. */
export function buildInterpreter(module: ModuleBuilder, parts: InterpreterParts): Callee {
  return module.function('run', ['i32', 'i32'], ['i32'], (f) => {
    const v = declareVariables(f)
    enter(f, v, parts)
    f.block((exit) => {
      f.loop((resync) => {
        emitResync(f, v, parts, exit, resync)
        f.loop((arrive) => {
          f.block((found) => emitArrive(f, v, parts, { exit, resync, found }))
          f.loop((dispatch) => {
            f.ifUnlikely(i32.eqz(v.steps), () => {
              setHart64(f, v.hart, 'pc', pcOf(v))
              setMachine32(f, 'exit', EXIT.budget)
              f.br(exit)
            })
            f.set(v.steps, i32.sub(v.steps, 1))
            emitHandlers(f, v, parts, { resync, arrive, dispatch })
          })
        })
      })
    })
    leave(f, v, parts)
    f.return(v.steps)
  })
}

function declareVariables(f: FunctionBuilder): Variables {
  return {
    hart: f.parameter(0, 'i32'),
    steps: f.parameter(1, 'i32'),
    entry: f.local('i32'),
    base: f.local('i32'),
    bank: f.local('i32'),
    slot: f.local('i32'),
    status: f.local('i32'),
    offset: f.local('i32'),
    scratch32: [f.local('i32'), f.local('i32')],
    delta: f.local('i64'),
    target: f.local('i64'),
    address: f.local('i64'),
    scratch64: [f.local('i64'), f.local('i64'), f.local('i64')],
  }
}

/** The predecoded instruction at `target`, given the base of its slot. */
const entryOf = (v: Variables): I32 => i32.add(v.base, i32.shl(i32.wrap(i64.and(v.target, 4095)), 2))
const deltaOf = (v: Variables): I64 => i64.sub(v.target, i64.extend_i32_u(i32.shr_u(v.entry, 2)))

/** Adds `steps` to a counter of the hart unless mcountinhibit stops it. */
function count(
  f: FunctionBuilder,
  v: Variables,
  counter: 'mcycle' | 'minstret',
  bit: number,
  steps: I64,
): void {
  const counting = i64.eqz(i64.and(hart64(v.hart, 'mcountinhibit'), bit))
  f.if(counting, () => setHart64(f, v.hart, counter, i64.add(hart64(v.hart, counter), steps)))
}

function enter(f: FunctionBuilder, v: Variables, parts: InterpreterParts): void {
  const steps = i64.extend_i32_u(v.steps)
  count(f, v, 'mcycle', 1, steps)
  count(f, v, 'minstret', 4, steps)
  f.setGlobal(parts.fflags, hart32(v.hart, 'fflags'))
  f.copy(CURRENT_REGISTERS, v.hart, REGISTER_BYTES)
  f.call(parts.updateBanks, v.hart)
}

function leave(f: FunctionBuilder, v: Variables, parts: InterpreterParts): void {
  const unused = i64.sub(0, i64.extend_i32_u(v.steps))
  count(f, v, 'mcycle', 1, unused)
  count(f, v, 'minstret', 4, unused)
  setHart32(f, v.hart, 'fflags', parts.fflags)
  f.copy(v.hart, CURRENT_REGISTERS, REGISTER_BYTES)
}

function emitResync(
  f: FunctionBuilder,
  v: Variables,
  parts: InterpreterParts,
  exit: Label,
  resync: Label,
): void {
  clearResync(f)
  f.ifUnlikely(machine32('stop'), () => {
    setMachine32(f, 'exit', machine32('stop'))
    setMachine32(f, 'stop', 0)
    f.br(exit)
  })
  f.ifUnlikely(i32.eqz(v.steps), () => {
    setMachine32(f, 'exit', EXIT.budget)
    f.br(exit)
  })
  f.ifUnlikely(i64.ne(pendingInterrupts(v.hart), 0), () => {
    f.if(call<'i32'>(parts.traps.takeInterrupt, v.hart), () => {
      f.set(v.steps, i32.sub(v.steps, 1))
      f.br(resync)
    })
  })
  f.set(v.bank, hart32(v.hart, 'dataBank'))
  f.set(v.target, hart64(v.hart, 'pc'))
  f.store('i64', 0, v.target, { offset: MACHINE.resumed })
}

function emitArrive(
  f: FunctionBuilder,
  v: Variables,
  parts: InterpreterParts,
  { exit, resync, found }: { exit: Label; resync: Label; found: Label },
): void {
  f.store('i64', 0, v.target, { offset: MACHINE.arrived })
  const index = i32.shl(i32.and(i32.wrap(i64.shr_u(v.target, 12)), FETCH_ENTRIES - 1), 4)
  f.set(v.slot, i32.add(hart32(v.hart, 'fetchBank'), index))
  f.set(v.base, i32.load(v.slot, { offset: BANK_FETCH + 8 }))
  f.ifUnlikely(i64.ne(i64.and(v.target, -4096), i64.load(v.slot, { offset: BANK_FETCH })), () => {
    setHart64(f, v.hart, 'pc', v.target)
    f.ifUnlikely(i32.eqz(v.steps), () => {
      setMachine32(f, 'exit', EXIT.budget)
      f.br(exit)
    })
    f.set(v.base, call<'i32'>(parts.memory.fetch, v.hart, v.target))
    f.ifUnlikely(i32.eq(v.base, FETCH_TRAPPED), () => {
      f.set(v.steps, i32.sub(v.steps, 1))
      f.br(resync)
    })
    f.set(v.entry, entryOf(v))
    f.ifUnlikely(i32.eq(v.entry, i32.add(v.hart, HART_STRADDLE)), () => {
      f.set(v.delta, deltaOf(v))
      f.set(v.base, NO_SLOT)
      f.br(found)
    })
  })
  f.set(v.entry, entryOf(v))
  f.set(v.delta, deltaOf(v))
}

function emitHandlers(f: FunctionBuilder, v: Variables, parts: InterpreterParts, labels: Labels): void {
  const giveBack = () => f.set(v.steps, i32.add(v.steps, 1))
  const skip = (length: 2 | 4) => () => {
    f.set(v.entry, i32.add(v.entry, (length / 2) * CODE_ENTRY_BYTES))
    f.br(labels.dispatch)
  }
  const special: Record<keyof typeof HANDLER, () => void> = {
    undecoded: () => {
      giveBack()
      f.call(parts.decodeRun, v.entry)
      f.br(labels.dispatch)
    },
    pageEnd: () => {
      giveBack()
      f.set(v.target, pcOf(v))
      // Behind what was executed alone no jump has led here, for who looks at where code comes to.
      f.if(i32.eq(v.base, NO_SLOT), () => f.store('i64', 0, v.target, { offset: MACHINE.resumed }))
      f.br(labels.arrive)
    },
    straddle: () => emitStraddle(f, v, parts, labels),
    illegal: () => {
      setHart64(f, v.hart, 'pc', pcOf(v))
      f.call(parts.raiseIllegal, v.hart)
      f.br(labels.resync)
    },
    nop4: skip(4),
    nop2: skip(2),
    region: () => {
      giveBack()
      emitRegion(f, v, parts, labels)
    },
  }
  // Sequences come first: they can go on with the handler of one of their instructions, whose block is still open then.
  const handlers = instructionHandlers.toSorted((one, other) => other.parts.length - one.parts.length)
  const specials = Object.keys(HANDLER) as (keyof typeof HANDLER)[]
  const places = new Map(
    [...handlers.map(({ name }) => name), ...specials].map((name, place) => [name, place]),
  )
  const startIn = (starts: readonly Label[]): StartOf => {
    return (name) => starts[places.get(name)!]!
  }
  const cases = handlers.map(({ parts: variants }) => (_end: Label, starts: readonly Label[]) => {
    emitParts(f, v, parts, labels, variants, startIn(starts))
  })
  f.set(v.slot, i32.load16_u(v.entry))
  f.cases([...cases, ...specials.map((name) => special[name])], (starts) => {
    emitDispatch(f, v.slot, dispatchTree, startIn(starts))
  })
}

/** Where the handler with this name begins. */
type StartOf = (name: string) => Label

/** The instructions of one handler. What is rare in one of a sequence is left to the handler it has alone. */
function emitParts(
  f: FunctionBuilder,
  v: Variables,
  parts: InterpreterParts,
  labels: Labels,
  variants: readonly HandlerVariant[],
  startOf: StartOf,
): void {
  const isSequence = variants.length > 1
  for (const [i, variant] of variants.entries()) {
    const rare = isSequence ? { alone: startOf(variant.name) } : {}
    const emitter = new OpenOperands(f, v, parts, { ...labels, ...rare }, variant)
    meanings[variant.instruction.op]!(emitter)
    if (i < variants.length - 1) emitter.continueWithin()
    else emitter.next()
  }
}

/** Goes to the start of the handler with this number. Numbers rise in the tree from left to right. */
function emitDispatch(f: FunctionBuilder, handler: I32, tree: DispatchTree, startOf: StartOf): void {
  if (tree.kind === 'hot') f.br(startOf(tree.name))
  else if (tree.kind === 'cold') f.brTable(handler, coldHandlers.map(startOf), startOf('illegal'))
  else {
    const firstOnRight = handlerNumber(leavesOf(tree.right)[0]!)
    f.if(i32.lt_u(handler, firstOnRight), () => emitDispatch(f, handler, tree.left, startOf))
    emitDispatch(f, handler, tree.right, startOf)
  }
}

/** The last halfword of a page begins a four-byte instruction: it is put together in the hart's own place. */
function emitStraddle(f: FunctionBuilder, v: Variables, parts: InterpreterParts, labels: Labels): void {
  f.set(v.target, pcOf(v))
  setHart64(f, v.hart, 'pc', v.target)
  const offset = i32.or(i32.shl(pageOfSlot(parts.layout, v.base), 12), 4094)
  f.if(call<'i32'>(parts.decodeStraddle, v.hart, offset, v.target), () => f.br(labels.resync))
  f.set(v.steps, i32.add(v.steps, 1))
  f.set(v.entry, i32.add(v.hart, HART_STRADDLE))
  f.set(v.delta, i64.sub(v.target, i64.extend_i32_u(i32.shr_u(v.entry, 2))))
  f.set(v.base, NO_SLOT)
  f.br(labels.dispatch)
}

/**
 * Enters the region whose entry stands here. One that takes no step has too few left for its first block: then the
 * instruction in whose place it stands is executed alone, from the hart's own place.
 */
function emitRegion(f: FunctionBuilder, v: Variables, parts: InterpreterParts, labels: Labels): void {
  const index = i32.load16_u(v.entry, { offset: REGION_ENTRY.functionIndex })
  setMachine32(f, 'regionEntries', i32.add(machine32('regionEntries'), 1))
  f.set(v.target, pcOf(v))
  f.set(v.status, v.steps)
  const values = [v.hart, v.steps, v.target, i32.const(0), i64.const(RETURN_NOWHERE)]
  const result = callIndirect('i32', parts.regionType, parts.regions, index, ...values)
  f.set(v.steps, elsewhere(result))
  f.ifUnlikely(i32.eq(v.status, v.steps), () => {
    const number = i32.load(v.entry, { offset: REGION_ENTRY.number })
    const original = i64.load(i32.shl(number, 3), { offset: parts.layout.regionOriginals })
    f.store('i64', v.hart, original, { offset: HART_STRADDLE })
    f.set(v.entry, i32.add(v.hart, HART_STRADDLE))
    f.set(v.delta, deltaOf(v))
    f.set(v.base, NO_SLOT)
    f.br(labels.dispatch)
  })
  setMachine32(f, 'translatedSteps', i32.add(machine32('translatedSteps'), i32.sub(v.status, v.steps)))
  f.ifUnlikely(machine32('regionResync'), () => f.br(labels.resync))
  // The region may have changed which bank is the hart's (SUM, MPRV, satp).
  f.set(v.bank, hart32(v.hart, 'dataBank'))
  f.set(v.target, hart64(v.hart, 'pc'))
  f.br(labels.arrive)
}
