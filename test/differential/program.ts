/** Test programs: many random blocks, each executed a few times with other operands and in other environments. */
import { assert } from '../../src/base/assert.ts'
import { Random } from '../../src/base/prng.ts'
import { Body, type Level } from './body.ts'
import { changeCode, changeMapping } from './coherence.ts'
import { transferControl } from './control.ts'
import { accessCsr } from './csr.ts'
import { type Features, makeEnvironment, type TrapVectors } from './environment.ts'
import { computeFloat } from './float.ts'
import { assembleHarness, ENTRY, type HarnessRegisters } from './harness.ts'
import { compute, computeCompressed, encodeAnything } from './integer.ts'
import {
  BLOCKS,
  DATA,
  DATA_PAGES,
  ENVIRONMENT,
  ENVIRONMENT_BYTES,
  ENVIRONMENTS,
  type Environment,
  EXECUTION_BYTES,
  EXECUTIONS,
  EXECUTIONS_MAX,
  HOT_BYTES,
  POOL_LENGTH,
  POOLS,
  RAM,
  SLOT_BYTES,
  TABLES,
  TRACE,
  USER_ALIAS,
} from './layout.ts'
import { accessAtomically, accessCompressed, accessExactly, accessMemory } from './memory.ts'
import { type OperandKind, operandPool } from './operands.ts'
import { pageTables } from './paging.ts'
import { usePrivilege } from './privileged.ts'

interface Kind {
  readonly generate: (body: Body) => void
  readonly levels: readonly Level[]
  readonly features: Features
  /** What most floating-point registers hold. */
  readonly operands: OperandKind
  /** How often blocks of this kind are made, against the others. */
  readonly weight: number
  /** How often the generator is called for a block. */
  readonly pieces: number
}

const kind = (generate: (body: Body) => void, more: Partial<Kind> = {}): Kind => ({
  generate,
  levels: ['machine'],
  features: {},
  operands: 'double',
  weight: 1,
  pieces: 16,
  ...more,
})

/** The kinds of blocks, by the name that --extension takes. */
export const kinds: Readonly<Record<string, Kind>> = {
  I: kind((body) => compute(body, 'I')),
  M: kind((body) => compute(body, 'M')),
  Zba: kind((body) => compute(body, 'Zba')),
  Zbb: kind((body) => compute(body, 'Zbb')),
  Zbs: kind((body) => compute(body, 'Zbs')),
  F: kind((body) => computeFloat(body, 'F'), { operands: 'single', weight: 4 }),
  D: kind((body) => computeFloat(body, 'D'), { weight: 4 }),
  A: kind(accessAtomically, { pieces: 4 }),
  C: kind((body) => (body.random.chance(0.3) ? accessCompressed(body) : computeCompressed(body)), {
    weight: 2,
  }),
  memory: kind(accessMemory, { pieces: 5, weight: 2 }),
  control: kind(transferControl, { pieces: 6, weight: 2 }),
  illegal: kind(encodeAnything, { features: { traps: true }, levels: ['machine', 'supervisor', 'user'] }),
  Zicsr: kind(accessCsr, {
    features: { traps: true },
    levels: ['machine', 'machine', 'supervisor', 'user'],
    pieces: 6,
  }),
  paging: kind(usePrivilege, {
    features: { paging: 'always', traps: true },
    levels: ['machine', 'supervisor', 'user'],
    pieces: 8,
    weight: 4,
  }),
  Zifencei: kind(changeCode, {
    features: { paging: 'sometimes' },
    levels: ['machine', 'supervisor', 'user'],
    pieces: 3,
  }),
  mapping: kind(changeMapping, {
    features: { paging: 'always' },
    levels: ['machine', 'supervisor'],
    pieces: 2,
  }),
  pmp: kind(accessProtected, {
    features: { paging: 'sometimes', pmp: true },
    levels: ['supervisor', 'user'],
    pieces: 6,
  }),
  interrupt: kind(accessCsr, {
    features: { traps: true, interrupts: true },
    levels: ['machine', 'supervisor', 'user'],
    pieces: 4,
  }),
}

/** Aligned accesses around the borders of PMP regions: how far a misaligned one gets is not specified. */
function accessProtected(body: Body): void {
  body.keeping((base) => {
    body.pointTo(base, body.hotDistance() & ~7)
    for (let count = body.random.between(1, 4); count > 0; count--) accessExactly(body, base)
  })
  if (body.random.chance(0.3)) usePrivilegeAligned(body)
}

/** A call of a return instruction, in a page that PMP may close. */
function usePrivilegeAligned(body: Body): void {
  if (!body.isFree(1)) return
  body.keeping((base) => {
    body.pointTo(base, body.returnDistance())
    body.emit('jalr', { rd: 1, rs1: base, imm: 0 })
  })
}

export interface Block {
  readonly kind: string
  readonly level: Level
  /** Physical addresses of the first instruction, and of the ecall that ends the block. */
  readonly start: number
  readonly exit: number
  /** Physical address of the instruction before the exit. */
  readonly last: number
  readonly instructions: number
}

export interface Execution {
  readonly block: Block
  readonly environment: Environment
  readonly fcsr: number
  /** x0..x31, f0..f31 at the start. */
  readonly x: BigUint64Array
  readonly f: BigUint64Array
}

export interface Program {
  readonly seed: number
  readonly number: number
  readonly harness: HarnessRegisters
  /** To be loaded at the start of RAM. */
  readonly image: Uint8Array
  readonly executions: readonly Execution[]
  /** Instructions of blocks that are executed, by count of what is written: loops and skips not considered. */
  readonly instructions: number
}

/** How many blocks a program has unless told otherwise, and how often each is executed. */
const BLOCKS_USUAL = 2000
const REPEATS = 4

/** Program `number` of `seed`, of blocks of these kinds. The same arguments give the same program. */
export function makeProgram(
  seed: number,
  number: number,
  names: readonly string[],
  blocks = BLOCKS_USUAL,
): Program {
  const random = new Random(seed, number)
  return new ProgramMaker(random, seed, number).make(names, blocks)
}

class ProgramMaker {
  readonly #random: Random
  readonly #seed: number
  readonly #number: number
  readonly #image = new Uint8Array(TRACE)
  readonly #view = new DataView(this.#image.buffer)
  readonly #harness: HarnessRegisters
  readonly #pools = new Map<OperandKind, { address: number; values: BigUint64Array }>()
  readonly #executions: Execution[] = []
  #next = BLOCKS

  constructor(random: Random, seed: number, number: number) {
    this.#random = random
    this.#seed = seed
    this.#number = number
    const reserved = [3, 4, 5, 6, 7, ...Array.from({ length: 16 }, (_, index) => 16 + index)]
    const context = random.pick(reserved)
    this.#harness = { context, scratch: random.pick(reserved.filter((register) => register !== context)) }
  }

  make(names: readonly string[], count: number): Program {
    const assembly = assembleHarness(this.#harness)
    const vectors = {
      machine: assembly.labels.get('machineTrap')!,
      supervisor: assembly.labels.get('supervisorTrap')!,
    }
    this.#image.set(assembly.bytes)
    this.#image.set(pageTables(this.#random), TABLES)
    this.#fillData()
    this.#fillPools()
    const weighted = names.flatMap((name) => Array<string>(kinds[name]!.weight).fill(name))
    const blocks = Array.from({ length: count }, () => this.#block(this.#random.pick(weighted)))
    for (let repeat = 0; repeat < REPEATS; repeat++) {
      for (const block of blocks) this.#execute(block, vectors)
    }
    return {
      seed: this.#seed,
      number: this.#number,
      harness: this.#harness,
      image: this.#image,
      executions: this.#executions,
      instructions: this.#executions.reduce((sum, { block }) => sum + block.instructions, 0),
    }
  }

  /** Return instructions everywhere but in the hot bytes, so that every page can be called. */
  #fillData(): void {
    const returns = 0x8082
    for (let at = 0; at < (DATA_PAGES + 1) * 0x1000; at += 2) this.#view.setUint16(DATA + at, returns, true)
  }

  #fillPools(): void {
    let address = POOLS
    for (const kind of ['integer', 'single', 'double'] as const) {
      const values = operandPool(this.#random, kind, POOL_LENGTH)
      for (const [index, value] of values.entries()) {
        this.#view.setBigUint64(address + 8 * index, value, true)
      }
      this.#pools.set(kind, { address, values })
      address += 8 * POOL_LENGTH
    }
  }

  #block(name: string): Block {
    const { generate, levels, pieces } = kinds[name]!
    const level = this.#random.pick(levels)
    const body = new Body(this.#random, level, RAM + this.#next, this.#harness)
    for (let piece = 0; piece < pieces; piece++) generate(body)
    const { last, here: exit } = body
    body.emit('ecall', {})
    this.#image.set(body.bytes, this.#next)
    this.#next += body.bytes.length
    assert(this.#next < EXECUTIONS, 'the blocks fit into their part of memory')
    return { kind: name, level, start: body.start, exit, last, instructions: body.count }
  }

  #execute(block: Block, vectors: TrapVectors): void {
    const { features, operands } = kinds[block.kind]!
    const index = this.#executions.length
    assert(index < EXECUTIONS_MAX, 'the executions fit into their part of memory')
    const environment = makeEnvironment(this.#random, block.level, vectors, features)
    const [x, f, data] = [this.#window('integer', 32), this.#window(operands, 32), this.#window(operands, 64)]
    const isAliased = block.level === 'user' && environment.satp !== 0n
    const alias = isAliased ? USER_ALIAS : 0
    const fcsr = (this.#random.below(this.#random.chance(0.1) ? 8 : 5) << 5) | this.#random.below(32)
    const entry = EXECUTIONS + index * EXECUTION_BYTES
    const set = (field: number, value: number): void =>
      this.#view.setBigUint64(entry + field, BigInt(value), true)
    set(ENTRY.start, block.start + alias)
    set(ENTRY.exit, block.exit + alias)
    set(ENTRY.environment, RAM + ENVIRONMENTS + index * ENVIRONMENT_BYTES)
    set(ENTRY.x, RAM + x.address)
    set(ENTRY.f, RAM + f.address)
    set(ENTRY.data, RAM + data.address)
    set(ENTRY.fcsr, fcsr)
    for (const [position, name] of ENVIRONMENT.entries()) {
      const at = ENVIRONMENTS + index * ENVIRONMENT_BYTES + 8 * position
      this.#view.setBigUint64(at, BigInt.asUintN(64, environment[name]), true)
    }
    this.#executions.push({ block, environment, fcsr, x: x.values, f: f.values })
  }

  /** Some consecutive operands of a pool. */
  #window(kind: OperandKind, length: number): { address: number; values: BigUint64Array } {
    const { address, values } = this.#pools.get(kind)!
    const start = this.#random.below(POOL_LENGTH - length)
    return { address: address + 8 * start, values: values.subarray(start, start + length) }
  }
}

/** The trace of a program: where its subjects leave what is compared. */
export function traceArea(program: Program): { address: number; length: number } {
  return { address: RAM + TRACE, length: program.executions.length * SLOT_BYTES }
}

/** Bytes of hot data in a slot. */
export const HOT_DATA = DATA_PAGES * 2 * HOT_BYTES
