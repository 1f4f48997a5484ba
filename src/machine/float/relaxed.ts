/**
 * Whether WebAssembly's relaxed multiply-add rounds once, as IEEE 754's fusedMultiplyAdd does, or twice: both are allowed,
 * and engines take the processor's instruction where there is one. If it rounds once it is exact, and the same everywhere.
 */

import type { Engine } from '../../wasm/engine.ts'
import { i32, relaxedMultiplyAdd } from '../../wasm/expression.ts'
import type { Callee } from '../../wasm/function.ts'
import { ModuleBuilder } from '../../wasm/module.ts'
import { DOUBLE, type Format, type NativeType, type RawType, SINGLE } from './format.ts'

/** Rounds of the test: the engine compiles what is called so often with its best compiler, beside its first one. */
const ROUNDS = 400_000

const found = new WeakMap<Engine, boolean>()

export function fusesMultiplyAdd(engine: Engine): boolean {
  const known = found.get(engine)
  if (known !== undefined) return known
  const { doubles, singles } = engine.instantiate(buildTest(), {})
  const isFused =
    doubles!(1, ROUNDS) === 0 && singles!(1, ROUNDS) === 0 && doubles!(1, 1) === 0 && singles!(1, 1) === 0
  found.set(engine, isFused)
  return isFused
}

function buildTest(): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder()
  for (const callee of [buildCount(module, DOUBLE, 'doubles'), buildCount(module, SINGLE, 'singles')])
    module.exportFunction(callee)
  return module.build()
}

/** name(1, rounds) -> how many of the rounds gave something else than (1 + u)(1 - u) - 1 = -u x u, which two roundings lose. */
function buildCount<R extends RawType, N extends NativeType>(
  module: ModuleBuilder,
  { native, nativeType, fractionBits }: Format<R, N>,
  name: string,
): Callee {
  return module.function(name, [nativeType, 'i32'], ['i32'], (f) => {
    const one = f.parameter(0, nativeType)
    const rounds = f.parameter(1, 'i32')
    const wrong = f.local('i32')
    const unit = f.let(native.const(2 ** -fractionBits))
    f.loop((next) => {
      const right = native.sub(native.const(0), native.mul(unit, unit))
      const minusOne = native.sub(native.const(0), one)
      const found = relaxedMultiplyAdd(native.add(one, unit), native.sub(one, unit), minusOne)
      f.set(wrong, i32.add(wrong, native.ne(found, right)))
      f.set(rounds, i32.sub(rounds, 1))
      f.brIf(next, rounds)
    })
    f.return(wrong)
  })
}
