/**
 * What translated code calls in the core module: exported there, imported by every module of regions, by the place that
 * a function has in the tree of these, `functions.float.double.add`.
 */
import type { Callee, Global } from '../../wasm/function.ts'
import type { ModuleBuilder } from '../../wasm/module.ts'
import type { MeaningFunctions } from '../emitter.ts'
import type { FloatChecks } from './float_state.ts'
import type { SlowAccess } from './slow_access.ts'

export interface Linkage {
  readonly memory: { readonly atomic: Callee }
  readonly slow: SlowAccess
  readonly float: FloatChecks
  /** The running hart's fflags. */
  readonly fflags: Global<'i32'>
  readonly afterStore: Callee
  readonly raise: Callee
  readonly raiseIllegal: Callee
  readonly functions: MeaningFunctions
}

/** Functions and the global by their places; what is neither is the same on both sides. */
type Tree = { readonly [name: string]: Callee | Global | boolean | Tree }

const isCallee = (node: object): node is Callee => 'parameters' in node
const isGlobal = (node: object): node is Global => 'code' in node

interface Links {
  callee(path: string, callee: Callee): Callee
  global(path: string, global: Global): Global
}

function mapTree(tree: Tree, links: Links, path = ''): Tree {
  const mapNode = (node: Callee | Global | boolean | Tree, place: string): Tree[string] => {
    if (typeof node === 'boolean') return node
    if (isCallee(node)) return links.callee(place, node)
    return isGlobal(node) ? links.global(place, node) : mapTree(node, links, `${place}.`)
  }
  const entries = Object.entries(tree).map(([name, node]) => [name, mapNode(node, `${path}${name}`)])
  return Object.fromEntries(entries) as Tree
}

/** The part of a core's function table that regions need; only the names and signatures matter to them. */
export function exportLinkage(module: ModuleBuilder, linkage: Linkage): void {
  mapTree(linkage as unknown as Tree, {
    callee: (path, callee) => {
      module.exportFunction(callee, `linkage.${path}`)
      return callee
    },
    global: (path, global) => {
      module.exportGlobal(global, `linkage.${path}`)
      return global
    },
  })
}

/** Imports all of it into a module that has no function yet. */
export function importLinkage(module: ModuleBuilder, linkage: Linkage): Linkage {
  const imported = mapTree(linkage as unknown as Tree, {
    callee: (path, { parameters, results }) =>
      module.importFunction('core', `linkage.${path}`, parameters, results),
    global: (path) => module.importGlobal('core', `linkage.${path}`, 'i32'),
  })
  return imported as unknown as Linkage
}
