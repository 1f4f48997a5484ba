/**
 * Accesses to memory that miss in translated code, and to CSRs. They are functions of their own so that little is left in a region:
 * there is one for each access, and code that is small is fetched and compiled faster.
 *
 * `info` says what is known when the region is written; of an access (bytes of the access) + 16 x (bytes of the instruction).
 */
import { type I32, type I64, i32, i64 } from '../../wasm/expression.ts'
import { type Callee, call, type FunctionBuilder, type Local } from '../../wasm/function.ts'
import type { ModuleBuilder } from '../../wasm/module.ts'
import { addendOf, DATA_ARRAY, type DataEntries, placeOf } from '../data_entries.ts'
import { hart32, hart64, machine32, setHart64, setMachine32 } from '../fields.ts'
import { MSTATUS } from '../layout.ts'
import { loadSized, type SlowMemory, STATUS, storeSized } from '../memory.ts'
import { pendingInterrupts } from '../trap.ts'

export interface SlowAccess {
  /**
   * load(hart, address, pc, steps left, info) -> value, STATUS. With `trapped` there is no value; with any other but `done` the
   * hart's pc is behind the instruction, where the region is left.
   */
  readonly load: Callee
  /**
   * group(hart, first, last, mask, array) -> the offset in RAM of `first`, or NO_GROUP, if the data bank's array has the page of both:
   * the first address of a group, and, with the mask of such an access, that of its last one of the largest size.
   */
  readonly group: Callee
  /** store(hart, address, pc, steps left, info, value) -> STATUS. */
  readonly store: Callee
  /**
   * csr(hart, pc, steps left, csrInfo, whether it writes, operand) -> the old value, STATUS. With `done` the region goes on, and
   * finds its translations of data anew; with any other it is left as behind a load.
   */
  readonly csr: Callee
}

export function accessInfo(bytes: number, instructionBytes: number): number {
  return bytes + 16 * instructionBytes
}

/** (number of the CSR) + 4096 x OPERATION + 65536 x (bytes of the instruction). */
export function csrInfo(number: number, operation: number, instructionBytes: number): number {
  return number + (operation << 12) + (instructionBytes << 16)
}

interface SlowAccessParts {
  readonly memory: SlowMemory
  readonly entries: DataEntries
  readonly csr: Callee
}

export function buildSlowAccess(
  module: ModuleBuilder,
  { memory, entries, csr }: SlowAccessParts,
): SlowAccess {
  const common = ['i32', 'i64', 'i64', 'i32', 'i32'] as const
  return {
    load: module.function('regionLoad', common, ['i64', 'i32'], (f) => {
      ifFound(f, DATA_ARRAY.read, (offset, size) =>
        f.return(loadSized(f, offset, size), i32.const(STATUS.done)),
      )
      const { hart, address, size } = expose(f)
      const status = f.let(call<'i32'>(memory.load, hart, address, size))
      leaveBehind(f, status)
      f.return(hart64(hart, 'result'), status)
    }),
    group: buildGroup(module, entries),
    store: module.function('regionStore', [...common, 'i64'], ['i32'], (f) => {
      ifFound(f, DATA_ARRAY.write, (offset, size) => {
        storeSized(f, offset, size, f.parameter(5, 'i64'))
        f.return(i32.const(STATUS.done))
      })
      const { hart, address, size } = expose(f)
      const status = f.let(call<'i32'>(memory.store, hart, address, size, f.parameter(5, 'i64')))
      leaveBehind(f, status)
      f.return(status)
    }),
    csr: buildCsr(module, csr),
  }
}

/**
 * What a CSR changes may be of no concern to a region, as when the kernel forbids interrupts, or opens the memory of user space.
 * The region goes on unless the interpreter would now do something else than the next instruction, or code is found elsewhere, or
 * floating point has been switched, of which the region knows.
 */
function buildCsr(module: ModuleBuilder, access: Callee): Callee {
  const parameters = ['i32', 'i64', 'i32', 'i32', 'i32', 'i64'] as const
  return module.function('regionCsr', parameters, ['i64', 'i32'], (f) => {
    const hart = f.parameter(0, 'i32')
    const pc = f.parameter(1, 'i64')
    const info = f.parameter(3, 'i32')
    exposeAt(f, hart, pc, f.parameter(2, 'i32'))
    // Not the bank itself: one that is made anew may be in the place of the one that was.
    const fetchKey = f.let(hart64(hart, 'fetchKey'))
    const float = f.let(i64.and(hart64(hart, 'mstatus'), MSTATUS.fs))
    const operation = i32.and(i32.shr_u(info, 12), 3)
    const status = f.let(
      call<'i32'>(
        access,
        hart,
        i32.and(info, 0xfff),
        operation,
        f.parameter(5, 'i64'),
        f.parameter(4, 'i32'),
      ),
    )
    f.if(i32.eq(status, STATUS.resync), () => {
      const isWanted = i32.or(machine32('stop'), machine32('resync'))
      const isElsewhere = i64.ne(fetchKey, hart64(hart, 'fetchKey'))
      const isSwitched = i64.ne(float, i64.and(hart64(hart, 'mstatus'), MSTATUS.fs))
      const isInterrupted = i64.ne(pendingInterrupts(hart), 0)
      const leaves = i32.or(i32.or(isWanted, isElsewhere), i32.or(isSwitched, isInterrupted))
      f.if(i32.eqz(leaves), () => f.set(status, STATUS.done))
      setHart64(f, hart, 'pc', i64.add(pc, i64.extend_i32_u(i32.shr_u(info, 16))))
    })
    f.return(hart64(hart, 'result'), status)
  })
}

/** A group that has not been found. */
export const NO_GROUP = 0xffff_ffff

function buildGroup(module: ModuleBuilder, entries: DataEntries): Callee {
  return module.function('regionGroup', ['i32', 'i64', 'i64', 'i64', 'i32'], ['i32'], (f) => {
    const first = f.parameter(1, 'i64')
    const entry = f.let(call<'i32'>(entries.find, f.parameter(0, 'i32'), first, f.parameter(4, 'i32')))
    f.if(i32.eqz(entry), () => f.return(i32.const(NO_GROUP)))
    const isThere = i64.eq(i64.load(entry), i64.and(f.parameter(2, 'i64'), f.parameter(3, 'i64')))
    f.if(i32.eqz(isThere), () => f.return(i32.const(NO_GROUP)))
    f.return(i32.add(i32.wrap(first), addendOf(entry)))
  })
}

/**
 * Runs `body` with the place in RAM of an aligned access to a page that the data bank has. So it often is where the region has looked only for the
 * group of the access: it may lie on two pages, as a function's place on the stack does, or have been forgotten.
 */
function ifFound(f: FunctionBuilder, array: number, body: (offset: Local<'i32'>, size: I32) => void): void {
  const address = f.parameter(1, 'i64')
  const size = f.let(accessBytes(f))
  const entry = f.let(i32.add(i32.add(hart32(f.parameter(0, 'i32'), 'dataBank'), array), placeOf(address)))
  const tag = i64.and(address, i64.extend_i32_s(i32.add(size, -4096 - 1)))
  f.if(i64.eq(i64.load(entry), tag), () => body(f.let(i32.add(i32.wrap(address), addendOf(entry))), size))
}

const accessBytes = (f: FunctionBuilder): I32 => i32.and(f.parameter(4, 'i32'), 15)

/** Makes the hart's pc and the step count current, as Emitter.expose does. */
function expose(f: FunctionBuilder): { hart: Local<'i32'>; address: Local<'i64'>; size: Local<'i32'> } {
  const hart = f.parameter(0, 'i32')
  exposeAt(f, hart, f.parameter(2, 'i64'), f.parameter(3, 'i32'))
  const size = f.let(accessBytes(f))
  return { hart, address: f.parameter(1, 'i64'), size }
}

function exposeAt(f: FunctionBuilder, hart: I32, pc: I64, steps: I32): void {
  setHart64(f, hart, 'pc', pc)
  setMachine32(f, 'remaining', steps)
}

function leaveBehind(f: FunctionBuilder, status: Local<'i32'>): void {
  const isDone = i32.or(i32.eqz(status), i32.eq(status, STATUS.trapped))
  const length = i64.extend_i32_u(i32.shr_u(f.parameter(4, 'i32'), 4))
  f.if(i32.eqz(isDone), () =>
    setHart64(f, f.parameter(0, 'i32'), 'pc', i64.add(f.parameter(2, 'i64'), length)),
  )
}
