import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FormatError } from '../../base/errors.ts'
import { choose, f32, f64, type I32, i32, i64, select } from '../expression.ts'
import { callIndirect, type FunctionBuilder } from '../function.ts'
import { ModuleBuilder } from '../module.ts'
import { functionText, moduleText } from './module_text.ts'

const LIMITS = { initialPages: 1, maximumPages: 2, shared: true }

/** A function (i32, i64) -> i32 in a module with two memories and an imported function. */
function textOf(body: (f: FunctionBuilder, module: ModuleBuilder) => void): string {
  const module = new ModuleBuilder()
  module.importMemory('environment', 'tables', LIMITS)
  module.importMemory('environment', 'ram', LIMITS)
  module.function('f', ['i32', 'i64'], ['i32'], (f) => body(f, module))
  return functionText(module.build(), 'f', { parameters: ['first', 'second'] })
}

const HEAD = '(func $f (param $first i32) (param $second i64) (result i32)'

test('operands stand within their instruction', () => {
  const text = textOf((f) => f.return(i32.add(f.parameter(0, 'i32'), i32.wrap(f.parameter(1, 'i64')))))
  assert.equal(text, `${HEAD}\n  (return (i32.add (local.get $first) (i32.wrap_i64 (local.get $second)))))\n`)
})

test('blocks that are branched to have a label, and hints stand at their branch', () => {
  const text = textOf((f) => {
    const first = f.parameter(0, 'i32')
    f.block((end) => {
      f.loop((start) => {
        f.ifUnlikely(first, () => f.br(end))
        f.block(() => f.brIf(start, first, 'likely'))
      })
    })
    f.return(choose(first, i32.const(1), 2, 1))
  })
  assert.equal(
    text,
    `${HEAD}
  (block $block0
    (loop $loop1
      (if (@unlikely) (local.get $first) (then (br $block0)))
      (block (br_if $loop1 (@likely) (local.get $first)))))
  (return (if (@likely) (result i32) (local.get $first) (then (i32.const 1)) (else (i32.const 2)))))
`,
  )
})

test('a switch names its cases', () => {
  const text = textOf((f) => {
    f.switch(f.parameter(0, 'i32'), [() => f.return(i32.const(7))], () => f.unreachable())
  })
  assert.match(text, /\(br_table \$block2 \$block1 \(local\.get \$first\)\)/)
})

test('accesses name their memory and their place', () => {
  const module = new ModuleBuilder()
  module.importMemory('environment', 'tables', LIMITS)
  module.importMemory('environment', 'ram', LIMITS)
  module.function('f', [], [], (f) => {
    const local = f.local('i64', i64.load(0, { offset: 16 }))
    f.store('i64', 4, local, { offset: 24, memory: 1 }, 16)
    f.fill(1, 2, 3)
    f.copy(4, 5, 6)
  })
  const place = (memory: number, offset: number) =>
    memory === 0 && offset === 16 ? { name: 'x10', local: 'a0' } : undefined
  assert.equal(
    functionText(module.build(), 'f', { place }),
    `(func $f
  (local $a0 i64)
  (local.set $a0 (i64.load offset=x10 (i32.const 0)))
  (i64.store16 $ram offset=24 (i32.const 4) (local.get $a0))
  (memory.fill (i32.const 1) (i32.const 2) (i32.const 3))
  (memory.copy (i32.const 4) (i32.const 5) (i32.const 6)))
`,
  )
})

test('constants are what they are', () => {
  const values = [f64.const(-0), f64.const(0.1), f64.const(-Infinity), f64.const(Number.NaN), f32.const(1.5)]
  const text = textOf((f) => {
    for (const value of values) f.drop(value)
    f.drop(i64.const(-1n << 63n))
    f.drop(i64.const(0x1234_5678_9abcn))
    f.return(i32.const(0xffff_ff80))
  })
  const found = [...text.matchAll(/const ([^)]+)/g)].map(([, value]) => value)
  assert.deepEqual(found, [
    ...['-0', '0.1', '-inf', 'nan', '1.5'],
    ...['-9223372036854775808', '20015998343868', '-128'],
  ])
})

test('a module with everything that there can be', () => {
  const module = new ModuleBuilder()
  module.importMemory('environment', 'tables', LIMITS)
  const divide = module.importFunction('core', 'divide', ['i64', 'i64'], ['i64', 'i64'])
  const imported = module.importTable('core', 'regions', 4)
  const global = module.global('i64', -300n)
  const type = module.signature(['i32'], ['i32'])
  const f = module.function('f', ['i32'], ['i32'], (f) => {
    const pair = [f.local('i64'), f.local('i64')]
    f.callInto(pair, divide, global, 3)
    f.setGlobal(global, select(f.parameter(0, 'i32'), pair[0]!, pair[1]!))
    f.drop(callIndirect('i32', type, imported, 1, f.parameter(0, 'i32')))
    f.returnCallIndirect(type, imported, i32.const(2), f.parameter(0, 'i32'))
  })
  module.exportTable(module.table([f]), 'own')
  module.exportFunction(f, 'g')
  assert.equal(
    moduleText(module.build()),
    `(module
  (type (func (param i64 i64) (result i64 i64)))
  (type (func (param i32) (result i32)))
  (import "environment" "tables" (memory $tables 1 2 shared))
  (import "core" "divide" (func $divide (param i64 i64) (result i64 i64)))
  (import "core" "regions" (table $regions 4 funcref))
  (table 1 funcref)
  (global $0 (mut i64) (i64.const -300))
  (export "own" (table 1))
  (export "g" (func $f))
  (elem (table 1) (i32.const 0) func $f)
  (func $f (param $0 i32) (result i32)
    (local $1 i64) (local $2 i64)
    (call $divide (global.get $0) (i64.const 3))
    (local.set $2)
    (local.set $1)
    (global.set $0 (select (local.get $1) (local.get $2) (local.get $0)))
    (drop (call_indirect 0 (param i32) (result i32) (local.get $0) (i32.const 1)))
    (return_call_indirect 0 (param i32) (result i32) (local.get $0) (i32.const 2))))
`,
  )
})

test('two functions of one name are told apart', () => {
  const module = new ModuleBuilder()
  module.function('f', [], [], () => {})
  module.function('f', [], [], () => {})
  assert.match(moduleText(module.build()), /\(func \$f\)\n {2}\(func \$f\.1\)/)
})

test('every operation that expressions offer has its name', () => {
  const operations = { i32, i64, f32, f64 }
  type Operation = (...operands: readonly number[]) => I32
  for (const [type, names] of Object.entries(operations)) {
    for (const [name, operation] of Object.entries(names as unknown as Record<string, Operation>)) {
      const text = textOf((f) => f.drop(operation(...(name.includes('load') ? [1] : [1, 1]))))
      assert.ok(text.includes(`(${type}.${name}`), `${type}.${name}: ${text}`)
    }
  }
})

test('what src/wasm cannot emit is refused, with the byte where it stands', () => {
  const module = new ModuleBuilder()
  module.function('f', ['i32'], [], (f) => f.drop(f.parameter(0, 'i32')))
  const bytes = module.build()
  const drop = bytes.lastIndexOf(0x1a)
  const changed = (at: number, byte: number): Uint8Array => bytes.with(at, byte)
  const fails = (wrong: Uint8Array, message: RegExp): void =>
    assert.throws(
      () => moduleText(wrong),
      (error: Error) => error instanceof FormatError && message.test(error.message),
    )
  fails(changed(drop, 0x8d), new RegExp(`byte ${drop + 1}: opcode 0x8d`))
  fails(changed(drop, 0x6a), /an operand is missing/)
  fails(changed(drop, 0x0b), /too many/)
  fails(changed(drop - 2, 0x0c), /a branch over 0 blocks/)
  fails(changed(0, 1), /0x1 instead of 0x0/)
  fails(bytes.subarray(0, -1), /cut off/)
})
