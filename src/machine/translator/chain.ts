/**
 * How translated code goes from one region to the next without the interpreter.
 *
 *     region(hart, steps, pc, depth, returnTo) -> steps left, or ~(steps left)
 *
 * A region is entered by a jump, which takes the frame of the one that it comes from, or by a call, which waits at `returnTo`.
 * `depth` counts the calls that are in progress. If the code returns to returnTo, the steps left come back as they are. Else they come
 * back inverted, below zero; then the pc is in the hart, and machine.regionResync says whether that is to be looked at by the
 * slow way (interrupts, a trap, translations that were dropped). One that has taken no step had too few.
 */
import { type I32, i32, i64 } from '../../wasm/expression.ts'
import type { Callee, TableReference } from '../../wasm/function.ts'
import type { ModuleBuilder } from '../../wasm/module.ts'
import { hart32, machine32, setHart64, setMachine32 } from '../fields.ts'
import { HANDLER } from '../handlers.ts'
import { BANK_FETCH, FETCH_ENTRIES, MACHINE_MISSES, MISSES_KEPT, REGION_ENTRY } from '../layout.ts'

/** The parameters of regions, and of `chain`. */
export const REGION_PARAMETERS = ['i32', 'i32', 'i64', 'i32', 'i64'] as const

/** No code returns to an odd address: for whoever enters a region without a call. */
export const RETURN_NOWHERE = 1

export function regionSignature(module: ModuleBuilder): number {
  return module.signature(REGION_PARAMETERS, ['i32'])
}

/** The result of a region that does not come back to `returnTo`. */
export const elsewhere = (steps: I32): I32 => i32.xor(steps, -1)

/**
 * Enters the region that begins at pc, or comes back if there is none. Each module has its own chain, since jumps from many places are
 * predicted better than those from one.
 */
export function buildChain(module: ModuleBuilder, regions: TableReference): Callee {
  return module.function('chain', REGION_PARAMETERS, ['i32'], (f) => {
    const hart = f.parameter(0, 'i32')
    const steps = f.parameter(1, 'i32')
    const pc = f.parameter(2, 'i64')
    const depth = f.parameter(3, 'i32')
    const returnTo = f.parameter(4, 'i64')
    const page = f.let(i64.and(pc, -4096))
    const index = i32.shl(i32.and(i32.wrap(i64.shr_u(pc, 12)), FETCH_ENTRIES - 1), 4)
    const slot = f.let(i32.add(hart32(hart, 'fetchBank'), index))
    f.ifLikely(i64.eq(page, i64.load(slot, { offset: BANK_FETCH })), () => {
      const base = i32.load(slot, { offset: BANK_FETCH + 8 })
      const offset = i32.shl(i32.wrap(i64.and(pc, 4095)), 2)
      const entry = f.let(i32.load(i32.add(base, offset)))
      f.ifLikely(i32.eq(i32.and(entry, 0xffff), HANDLER.region), () => {
        const index = i32.shr_u(entry, REGION_ENTRY.functionIndex * 8)
        const values = [hart, steps, pc, depth, returnTo]
        f.returnCallIndirect(regionSignature(module), regions, index, ...values)
      })
    })
    const misses = f.let(machine32('chainMisses'))
    const place = i32.shl(i32.and(misses, MISSES_KEPT - 1), 3)
    f.store('i64', place, pc, { offset: MACHINE_MISSES })
    setMachine32(f, 'chainMisses', i32.add(misses, 1))
    setHart64(f, hart, 'pc', pc)
    setMachine32(f, 'regionResync', 0)
    f.return(elsewhere(steps))
  })
}
