/**
 * Builds the body of one WebAssembly function, statement by statement.
 *
 * Structured control flow takes closures: `f.if(condition, () => {...})`. A label is what `block` and `loop` hand to
 * their closure; a branch to it is encoded relative to where it stands.
 */
import { assert } from '../base/assert.ts'
import { type BranchHint, type Code, code, hintCode, unsignedLeb } from './encoding.ts'
import {
  type Expr,
  type MemoryPlace,
  memoryArgument,
  type Operand,
  operand,
  type ValueType,
} from './expression.ts'

/** A local variable or parameter; as an expression it reads the variable. */
export interface Local<T extends ValueType = ValueType> extends Expr<T> {
  readonly index: number
}

/** A function that can be called: imported or defined in this module. */
export interface Callee {
  readonly name: string
  readonly index: number
  readonly parameters: readonly ValueType[]
  readonly results: readonly ValueType[]
}

/** A table of functions, for indirect calls. */
export interface TableReference {
  readonly index: number
  readonly minimum: number
}

/** A global variable; as an expression it reads the variable. */
export interface Global<T extends ValueType = ValueType> extends Expr<T> {
  readonly index: number
}

/** The target of a branch: the end of a block or the start of a loop. */
export interface Label {
  readonly depth: number
}

/** Which way a branch usually goes. */
export type Likelihood = 'likely' | 'unlikely'

const LOCAL_GET = code(0x20)
const LOCAL_SET = code(0x21)
const BLOCK = code(0x02, 0x40)
const LOOP = code(0x03, 0x40)
const IF = code(0x04, 0x40)
const ELSE = code(0x05)
const END = code(0x0b)

type Arguments = readonly Operand<ValueType>[]

/** An expression that calls `callee`, which must have exactly one result. */
export function call<T extends ValueType = ValueType>(callee: Callee, ...args: Arguments): Expr<T> {
  assert(callee.results.length === 1, () => `${callee.name} has ${callee.results.length} results`)
  return { type: callee.results[0]! as T, code: callCode(0x10, callee, args) }
}

/** An expression that calls the function at `index` in `table`, of signature `typeIndex`, with a result of type `result`. */
export function callIndirect<T extends ValueType>(
  result: T,
  typeIndex: number,
  table: TableReference,
  index: Operand<'i32'>,
  ...args: readonly Expr[]
): Expr<T> {
  const called = args.map((arg) => arg.code).join('') + operand('i32', index).code
  return { type: result, code: called + code(0x11) + unsignedLeb(typeIndex) + unsignedLeb(table.index) }
}

function callCode(opcode: number, callee: Callee, args: Arguments): Code {
  const wanted = callee.parameters
  assert(
    args.length === wanted.length,
    () => `${callee.name} takes ${wanted.length} arguments, got ${args.length}`,
  )
  const values = args.map((arg, i) => checked(wanted[i]!, arg, callee.name).code)
  return values.join('') + code(opcode) + unsignedLeb(callee.index)
}

function checked(type: ValueType, value: Operand<ValueType>, place: string): Expr {
  const expr = operand(type, value as Operand<typeof type>)
  assert(expr.type === type, () => `${place}: expected ${type}, got ${expr.type}`)
  return expr
}

/** What a function has beside its signature. */
export interface FunctionBody {
  readonly localTypes: readonly ValueType[]
  /** Without the final `end`. */
  readonly code: Code
}

export class FunctionBuilder implements FunctionBody {
  readonly parameters: readonly ValueType[]
  readonly localTypes: ValueType[] = []
  #code: Code = ''
  #depth = 0

  constructor(parameters: readonly ValueType[]) {
    this.parameters = parameters
  }

  /** The body so far, without the final `end`. */
  get code(): Code {
    return this.#code
  }

  /** Has all of a function in here that has the same parameters. */
  paste({ localTypes, code }: FunctionBody): void {
    assert(this.#code === '' && this.localTypes.length === 0, 'there is something already')
    this.localTypes.push(...localTypes)
    this.#code = code
  }

  /** The parameter at `index`. */
  parameter<T extends ValueType>(index: number, type: T): Local<T> {
    assert(
      this.parameters[index] === type,
      () => `parameter ${index} is ${this.parameters[index]}, not ${type}`,
    )
    return { type, index, code: LOCAL_GET + unsignedLeb(index) }
  }

  /** A new local variable, optionally set to `initial` here. */
  local<T extends ValueType>(type: T, initial?: Operand<T>): Local<T> {
    const index = this.parameters.length + this.localTypes.length
    this.localTypes.push(type)
    const local = { type, index, code: LOCAL_GET + unsignedLeb(index) }
    if (initial !== undefined) this.set(local, initial)
    return local
  }

  /** Evaluates `value` now, into a new local. */
  let<T extends ValueType>(value: Expr<T>): Local<T> {
    return this.local<T>(value.type, value as Operand<T>)
  }

  set<T extends ValueType>(local: Local<T>, value: Operand<T>): void {
    this.#code += checked(local.type, value, 'set').code + LOCAL_SET + unsignedLeb(local.index)
  }

  setGlobal<T extends ValueType>(global: Global<T>, value: Operand<T>): void {
    this.#code += checked(global.type, value, 'setGlobal').code + code(0x24) + unsignedLeb(global.index)
  }

  /** Stores `value` with `width` bits (8, 16, 32, 64; the type's own width by default). */
  store<T extends ValueType>(
    type: T,
    address: Operand<'i32'>,
    value: Operand<T>,
    place: MemoryPlace = {},
    width?: number,
  ): void {
    const opcode = storeOpcode(type, width ?? (type === 'i32' || type === 'f32' ? 32 : 64))
    const values = operand('i32', address).code + checked(type, value, 'store').code
    this.#code += values + code(opcode) + memoryArgument(place)
  }

  /** Sets `count` bytes of memory 0 from `address` on to `byte`. */
  fill(address: Operand<'i32'>, byte: number, count: Operand<'i32'>): void {
    const args = operand('i32', address).code + operand('i32', byte).code + operand('i32', count).code
    this.#code += args + code(0xfc, 0x0b, 0x00)
  }

  /** Copies `count` bytes within memory 0. */
  copy(target: Operand<'i32'>, source: Operand<'i32'>, count: Operand<'i32'>): void {
    const args = operand('i32', target).code + operand('i32', source).code + operand('i32', count).code
    this.#code += args + code(0xfc, 0x0a, 0x00, 0x00)
  }

  /** Calls a function for its effect; results are dropped. */
  call(callee: Callee, ...args: Arguments): void {
    this.#code += callCode(0x10, callee, args) + code(0x1a).repeat(callee.results.length)
  }

  /** Calls a function and stores its results, in order, into `locals`. */
  callInto(locals: readonly Local[], callee: Callee, ...args: Arguments): void {
    assert(locals.length === callee.results.length, `${callee.name} has ${callee.results.length} results`)
    const sets = locals.map((local) => LOCAL_SET + unsignedLeb(local.index)).reverse()
    this.#code += callCode(0x10, callee, args) + sets.join('')
  }

  /** Leaves this function by a call to `callee`, whose results become its own. */
  returnCall(callee: Callee, ...args: Arguments): void {
    this.#code += callCode(0x12, callee, args)
  }

  /** Leaves this function by a call through `table`, at `index`, of a function with signature `typeIndex`. */
  returnCallIndirect(
    typeIndex: number,
    table: TableReference,
    index: Operand<'i32'>,
    ...args: readonly Expr[]
  ): void {
    const called = args.map((arg) => arg.code).join('') + operand('i32', index).code
    this.#code += called + code(0x13) + unsignedLeb(typeIndex) + unsignedLeb(table.index)
  }

  return(...values: readonly Expr[]): void {
    this.#code += values.map((value) => value.code).join('') + code(0x0f)
  }

  drop(value: Expr): void {
    this.#code += value.code + code(0x1a)
  }

  unreachable(): void {
    this.#code += code(0x00)
  }

  if(condition: Operand<'i32'>, then: () => void, otherwise?: () => void): void {
    this.#if(condition, undefined, then, otherwise)
  }

  ifUnlikely(condition: Operand<'i32'>, then: () => void, otherwise?: () => void): void {
    this.#if(condition, 0, then, otherwise)
  }

  ifLikely(condition: Operand<'i32'>, then: () => void, otherwise?: () => void): void {
    this.#if(condition, 1, then, otherwise)
  }

  block(body: (end: Label) => void): void {
    this.#nest(BLOCK, body)
  }

  loop(body: (start: Label) => void): void {
    this.#nest(LOOP, body)
  }

  br(label: Label): void {
    this.#code += code(0x0c) + unsignedLeb(this.#distance(label))
  }

  brIf(label: Label, condition: Operand<'i32'>, likelihood?: Likelihood): void {
    const hint = likelihood === undefined ? '' : hintCode(likelihood === 'likely' ? 1 : 0)
    this.#code += operand('i32', condition).code + hint + code(0x0d) + unsignedLeb(this.#distance(label))
  }

  /** Jumps to `labels[index]`, or to `otherwise` where the index is beyond them. */
  brTable(index: Operand<'i32'>, labels: readonly Label[], otherwise: Label): void {
    const targets = [...labels, otherwise].map((label) => unsignedLeb(this.#distance(label)))
    this.#code += operand('i32', index).code + code(0x0e) + unsignedLeb(labels.length) + targets.join('')
  }

  /** Nested blocks, one for each case: `cases[i]` runs when `index` is i and falls out of the switch at its end. */
  switch(
    index: Operand<'i32'>,
    cases: readonly ((end: Label) => void)[],
    otherwise: (end: Label) => void,
  ): void {
    this.cases([...cases, otherwise], (starts) =>
      this.brTable(index, starts.slice(0, cases.length), starts[cases.length]!),
    )
  }

  /**
   * Like `switch`, but `choose` emits what goes to one of the labels: `starts[i]` begins `cases[i]`. A case can go to
   * the ones behind it as well.
   */
  cases(
    cases: readonly ((end: Label, starts: readonly Label[]) => void)[],
    choose: (starts: readonly Label[]) => void,
  ): void {
    this.block((end) => {
      const starts: Label[] = []
      // The block of case i encloses those of the cases before it; the innermost one holds the choice.
      const open = (position: number): void => {
        this.block((label) => {
          starts[position] = label
          if (position > 0) open(position - 1)
          else choose(starts)
        })
        cases[position]!(end, starts)
        this.br(end)
      }
      open(cases.length - 1)
    })
  }

  #if(
    condition: Operand<'i32'>,
    hint: BranchHint | undefined,
    then: () => void,
    otherwise: (() => void) | undefined,
  ): void {
    this.#code += operand('i32', condition).code + (hint === undefined ? '' : hintCode(hint))
    this.#nest(IF, then, otherwise)
  }

  #nest(opening: Code, body: (label: Label) => void, otherwise?: () => void): void {
    this.#code += opening
    this.#depth++
    body({ depth: this.#depth })
    if (otherwise !== undefined) {
      this.#code += ELSE
      otherwise()
    }
    this.#code += END
    this.#depth--
  }

  #distance(label: Label): number {
    assert(label.depth <= this.#depth, 'a branch to a label that is not in scope')
    return this.#depth - label.depth
  }
}

/** Opcodes of stores, by the number of bits that they store. */
const INTEGER_STORES: Readonly<Record<'i32' | 'i64', Readonly<Record<number, number>>>> = {
  i32: { 8: 0x3a, 16: 0x3b, 32: 0x36 },
  i64: { 8: 0x3c, 16: 0x3d, 32: 0x3e, 64: 0x37 },
}

function storeOpcode(type: ValueType, width: number): number {
  if (type === 'f32') return 0x38
  if (type === 'f64') return 0x39
  const opcode = INTEGER_STORES[type][width]
  assert(opcode !== undefined, () => `${type} cannot be stored with ${width} bits`)
  return opcode
}
