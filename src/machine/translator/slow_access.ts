/**
 * Accesses to memory that miss in translated code. They are a function of their own so that little is left in a region:
 * there is one for each access, and code that is small is fetched and compiled faster.
 *
 * `info` says what is known when the region is written: (bytes of the access) + 16 x (bytes of the instruction).
 */
import { i32, i64 } from '../../wasm/expression.ts'
import { type Callee, call, type FunctionBuilder, type Local } from '../../wasm/function.ts'
import type { ModuleBuilder } from '../../wasm/module.ts'
import { hart32, hart64, setHart64, setMachine32 } from '../fields.ts'
import { TLB_ENTRIES } from '../layout.ts'
import { type SlowMemory, STATUS } from '../memory.ts'

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
}

export function accessInfo(bytes: number, instructionBytes: number): number {
  return bytes + 16 * instructionBytes
}

export function buildSlowAccess(module: ModuleBuilder, memory: SlowMemory): SlowAccess {
  const common = ['i32', 'i64', 'i64', 'i32', 'i32'] as const
  return {
    load: module.function('regionLoad', common, ['i64', 'i32'], (f) => {
      const { hart, address, size } = expose(f)
      const status = f.let(call<'i32'>(memory.load, hart, address, size))
      leaveBehind(f, status)
      f.return(hart64(hart, 'result'), status)
    }),
    group: buildGroup(module),
    store: module.function('regionStore', [...common, 'i64'], ['i32'], (f) => {
      const { hart, address, size } = expose(f)
      const status = f.let(call<'i32'>(memory.store, hart, address, size, f.parameter(5, 'i64')))
      leaveBehind(f, status)
      f.return(status)
    }),
  }
}

/** A group that has not been found. */
export const NO_GROUP = 0xffff_ffff

function buildGroup(module: ModuleBuilder): Callee {
  return module.function('regionGroup', ['i32', 'i64', 'i64', 'i64', 'i32'], ['i32'], (f) => {
    const first = f.parameter(1, 'i64')
    const index = i32.and(i32.shr_u(i32.wrap(first), 8), (TLB_ENTRIES - 1) << 4)
    const bank = i32.add(hart32(f.parameter(0, 'i32'), 'dataBank'), f.parameter(4, 'i32'))
    const slot = f.let(i32.add(bank, index))
    const isThere = i64.eq(i64.load(slot), i64.and(f.parameter(2, 'i64'), f.parameter(3, 'i64')))
    f.ifUnlikely(i32.eqz(isThere), () => f.return(i32.const(NO_GROUP)))
    f.return(i32.add(i32.wrap(first), i32.load(slot, { offset: 8 })))
  })
}

/** Makes the hart's pc and the step count current, as Emitter.expose does. */
function expose(f: FunctionBuilder): { hart: Local<'i32'>; address: Local<'i64'>; size: Local<'i32'> } {
  const hart = f.parameter(0, 'i32')
  setHart64(f, hart, 'pc', f.parameter(2, 'i64'))
  setMachine32(f, 'remaining', f.parameter(3, 'i32'))
  const size = f.let(i32.and(f.parameter(4, 'i32'), 15))
  return { hart, address: f.parameter(1, 'i64'), size }
}

function leaveBehind(f: FunctionBuilder, status: Local<'i32'>): void {
  const isDone = i32.or(i32.eqz(status), i32.eq(status, STATUS.trapped))
  const length = i64.extend_i32_u(i32.shr_u(f.parameter(4, 'i32'), 4))
  f.if(i32.eqz(isDone), () =>
    setHart64(f, f.parameter(0, 'i32'), 'pc', i64.add(f.parameter(2, 'i64'), length)),
  )
}
