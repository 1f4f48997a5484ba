/**
 * The core module: everything of the machine that is WebAssembly, put together.
 *
 * Its imports are two memories (harts and tables; guest RAM) and what it asks the environment for: MMIO, PMP,
 * decoding, and telling about stores to pages the host watches.
 */
import type { EngineTable } from '../wasm/engine.ts'
import { type I32, i32 } from '../wasm/expression.ts'
import type { Callee } from '../wasm/function.ts'
import { ModuleBuilder } from '../wasm/module.ts'
import { buildBanks } from './banks.ts'
import { buildCsrAccess, type FlagsAccess } from './csr.ts'
import { buildDataEntries } from './data_entries.ts'
import { buildFloat } from './float/float.ts'
import { buildHashPage } from './hash.ts'
import { buildInterpreter } from './interpreter.ts'
import { type Layout, REGIONS_MAX } from './layout.ts'
import { buildDecodeStraddle, buildSlowMemory } from './memory.ts'
import { buildTranslate } from './translate.ts'
import { regionSignature } from './translator/chain.ts'
import { buildFloatChecks } from './translator/float_state.ts'
import { exportLinkage, type Linkage } from './translator/linkage.ts'
import { buildSlowAccess } from './translator/slow_access.ts'
import { buildRaiseIllegal, buildTraps } from './trap.ts'
import { buildWatch } from './watch.ts'

/** What the environment gives to the core module, by import name. */
export interface CoreImports {
  /** Reads a device register into hart.result; 0 if nothing is there. */
  mmioLoad(hart: number, address: bigint, size: number): number
  mmioStore(hart: number, address: bigint, size: number, value: bigint): number
  /** PMP_ANSWER for one physical access. */
  pmp(hartId: number, address: bigint, size: number, access: number, privilege: number): number
  writePmp(hartId: number, csr: number, value: bigint): void
  decodeRun(entry: number): void
  decodeInto(entry: number, word: number): void
  /** A store to a page with PAGE_HOST at this offset in RAM has taken place. */
  hostStore(offset: number, size: number): void
  /** Drops the regions that have any of these bytes of a page in them; returns 1 if there were any. */
  dropRegions(page: number, inPage: number, size: number): number
  /** A page's predecoded code is given up, or it has got a place for some. */
  sleepRegions(page: number): void
  wakeRegions(page: number): void
}

/** What the core module offers. */
export interface CoreExports {
  run(hart: number, steps: number): number
  updateBanks(hart: number): void
  flushHart(hart: number): void
  flushAll(): void
  flushWrites(): void
  watchPage(page: number, flag: number): void
  afterStore(offset: number, size: number): void
  hashPage(page: number): bigint
  /** translate(hart, va, access, size) -> TRANSLATED, for debuggers. */
  translate(hart: number, va: bigint, access: number, size: number): number
  /** The functions of all regions, by their numbers. */
  readonly regions: EngineTable
}

export interface CoreModule {
  readonly bytes: Uint8Array<ArrayBuffer>
  /** CSR numbers in the order of the CSR table. */
  readonly csrNumbers: readonly number[]
  /** What translated code calls. */
  readonly linkage: Linkage
}

interface Environment {
  readonly mmioLoad: Callee
  readonly mmioStore: Callee
  readonly pmp: Callee
  readonly writePmp: Callee
  readonly decodeRun: Callee
  readonly decodeInto: Callee
  readonly hostStore: Callee
  readonly dropRegions: Callee
  readonly sleepRegions: Callee
  readonly wakeRegions: Callee
}

/** Sizes of the two memories, in WebAssembly pages. */
export interface CoreMemories {
  readonly tablePages: number
  readonly ramPages: number
}

/** Modules already built, by what they depend on: building one takes longer than compiling it. */
const built = new Map<string, CoreModule>()

export function buildCore(layout: Layout, memories: CoreMemories, fusesMultiplyAdd: boolean): CoreModule {
  const key = `${layout.harts} harts, ${layout.ramBytes} bytes, ${memories.tablePages} pages, ${fusesMultiplyAdd}`
  const known = built.get(key) ?? emitCore(layout, memories, fusesMultiplyAdd)
  built.set(key, known)
  return known
}

function emitCore(layout: Layout, memories: CoreMemories, fusesMultiplyAdd: boolean): CoreModule {
  const module = new ModuleBuilder()
  const env = importEnvironment(module, memories)
  const fflags = module.global('i32', 0)
  const flagsAccess: FlagsAccess = {
    read: () => fflags,
    write: (f, _hart, value) => f.setGlobal(fflags, value),
  }
  const float = buildFloat(module, fflags, { inexactAlready: (): I32 => i32.and(fflags, 1) })
  const watch = buildWatch(module, layout, env)
  const entries = buildDataEntries(module, watch.noteWriteEntry)
  const banks = buildBanks(module, layout)
  const traps = buildTraps(module, banks.update)
  const translate = buildTranslate(module, watch, env.pmp)
  const raiseIllegal = buildRaiseIllegal(module, traps.raise, translate)
  const decodeStraddle = buildDecodeStraddle(module, {
    ...{ layout, translate, raise: traps.raise },
    decodeInto: env.decodeInto,
  })
  const memory = buildSlowMemory(module, {
    ...{ layout, watch, entries, translate, raise: traps.raise, decodeStraddle },
    ...{ mmioLoad: env.mmioLoad, mmioStore: env.mmioStore },
  })
  const csr = buildCsrAccess(module, {
    ...{ layout, raiseIllegal, updateBanks: banks.update, writePmp: env.writePmp },
    fflags: flagsAccess,
  })
  const functions = {
    ...{ mret: traps.mret, sret: traps.sret, float },
    fusesMultiplyAdd,
  }
  const regions = module.emptyTable(REGIONS_MAX)
  module.exportTable(regions, 'regions')
  const linkage = {
    ...{ memory: { atomic: memory.atomic }, fflags },
    slow: buildSlowAccess(module, { memory, entries, csr: csr.access }),
    float: buildFloatChecks(module, fflags, raiseIllegal),
    ...{ afterStore: watch.afterStore, raise: traps.raise, raiseIllegal, functions },
  }
  exportLinkage(module, linkage)
  const run = buildInterpreter(module, {
    ...{ layout, memory, watch, traps, functions, raiseIllegal, decodeStraddle, fflags, regions },
    regionType: regionSignature(module),
    ...{ updateBanks: banks.update, csrAccess: csr.access, decodeRun: env.decodeRun },
  })
  const exported = [run, banks.update, banks.flushHart, watch.flushAll, watch.flushWrites, watch.watchPage]
  for (const callee of [...exported, watch.afterStore, translate, buildHashPage(module)]) {
    module.exportFunction(callee)
  }
  return { bytes: module.build(), csrNumbers: csr.numbers, linkage }
}

function importEnvironment(module: ModuleBuilder, { tablePages, ramPages }: CoreMemories): Environment {
  const memory = (name: string, pages: number) =>
    module.importMemory('environment', name, { initialPages: pages, maximumPages: pages, shared: true })
  memory('tables', tablePages)
  memory('ram', ramPages)
  const imported = (name: string, parameters: ('i32' | 'i64')[], results: 'i32'[] = []) =>
    module.importFunction('environment', name, parameters, results)
  return {
    mmioLoad: imported('mmioLoad', ['i32', 'i64', 'i32'], ['i32']),
    mmioStore: imported('mmioStore', ['i32', 'i64', 'i32', 'i64'], ['i32']),
    pmp: imported('pmp', ['i32', 'i64', 'i32', 'i32', 'i32'], ['i32']),
    writePmp: imported('writePmp', ['i32', 'i32', 'i64']),
    decodeRun: imported('decodeRun', ['i32']),
    decodeInto: imported('decodeInto', ['i32', 'i32']),
    hostStore: imported('hostStore', ['i32', 'i32']),
    dropRegions: imported('dropRegions', ['i32', 'i32', 'i32'], ['i32']),
    sleepRegions: imported('sleepRegions', ['i32']),
    wakeRegions: imported('wakeRegions', ['i32']),
  }
}
