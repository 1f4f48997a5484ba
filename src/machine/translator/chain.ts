/**
 * How translated code goes from one region to the next without the interpreter.
 *
 *     region(hart, steps, pc) -> steps left
 *
 * A region that comes back has the pc in the hart, and in machine.regionResync whether that is to be looked at by the
 * slow way (interrupts, a trap, translations that were dropped). One that has taken no step had too few.
 */
import { i32, i64 } from '../../wasm/expression.ts'
import type { Callee, TableReference } from '../../wasm/function.ts'
import type { ModuleBuilder } from '../../wasm/module.ts'
import { hart32, machine32, setHart64, setMachine32 } from '../fields.ts'
import { HANDLER } from '../handlers.ts'
import { BANK_FETCH, FETCH_ENTRIES, MACHINE_MISSES, MISSES_KEPT, REGION_ENTRY } from '../layout.ts'

/** The signature of regions, and of `chain`. */
export function regionSignature(module: ModuleBuilder): number {
  return module.signature(['i32', 'i32', 'i64'], ['i32'])
}

/** chain(hart, steps, pc) -> steps left: enters the region that begins at pc, or comes back if there is none. */
export function buildChain(module: ModuleBuilder, regions: TableReference): Callee {
  return module.function('chain', ['i32', 'i32', 'i64'], ['i32'], (f) => {
    const hart = f.parameter(0, 'i32')
    const steps = f.parameter(1, 'i32')
    const pc = f.parameter(2, 'i64')
    const page = f.let(i64.and(pc, -4096))
    const index = i32.shl(i32.and(i32.wrap(i64.shr_u(pc, 12)), FETCH_ENTRIES - 1), 4)
    const slot = f.let(i32.add(hart32(hart, 'fetchBank'), index))
    f.ifLikely(i64.eq(page, i64.load(slot, { offset: BANK_FETCH })), () => {
      const base = i32.load(slot, { offset: BANK_FETCH + 8 })
      const offset = i32.shl(i32.wrap(i64.and(pc, 4095)), 2)
      const entry = f.let(i32.load(i32.add(base, offset)))
      f.ifLikely(i32.eq(i32.and(entry, 0xffff), HANDLER.region), () => {
        const index = i32.shr_u(entry, REGION_ENTRY.functionIndex * 8)
        f.returnCallIndirect(regionSignature(module), regions, index, hart, steps, pc)
      })
    })
    const misses = f.let(machine32('chainMisses'))
    const place = i32.shl(i32.and(misses, MISSES_KEPT - 1), 3)
    f.store('i64', place, pc, { offset: MACHINE_MISSES })
    setMachine32(f, 'chainMisses', i32.add(misses, 1))
    setHart64(f, hart, 'pc', pc)
    setMachine32(f, 'regionResync', 0)
    f.return(steps)
  })
}
