/**
 * What translated code calls in the core module: exported there, imported by every module of regions, by the place that
 * a function has in the tree of these, `functions.float.double.add`.
 */
import type { Callee } from '../../wasm/function.ts'
import type { ModuleBuilder } from '../../wasm/module.ts'
import type { MeaningFunctions } from '../emitter.ts'

export interface Linkage {
  readonly memory: { readonly load: Callee; readonly store: Callee; readonly atomic: Callee }
  readonly afterStore: Callee
  readonly raise: Callee
  readonly raiseIllegal: Callee
  readonly functions: MeaningFunctions
  /** Goes on at a pc (chain.ts). */
  readonly chain: Callee
}

type Tree = { readonly [name: string]: Callee | Tree }

const isCallee = (node: Callee | Tree): node is Callee => typeof node['index'] === 'number'

function mapTree(tree: Tree, map: (path: string, callee: Callee) => Callee, path = ''): Tree {
  const entries = Object.entries(tree).map(([name, node]) => {
    const place = `${path}${name}`
    return [name, isCallee(node) ? map(place, node) : mapTree(node, map, `${place}.`)]
  })
  return Object.fromEntries(entries) as Tree
}

/** The part of a core's function table that regions need; only the names and signatures matter to them. */
export function exportLinkage(module: ModuleBuilder, linkage: Linkage): void {
  mapTree(linkage as unknown as Tree, (path, callee) => {
    module.exportFunction(callee, `linkage.${path}`)
    return callee
  })
}

/** Imports all of it into a module that has no function yet. */
export function importLinkage(module: ModuleBuilder, linkage: Linkage): Linkage {
  const imported = mapTree(linkage as unknown as Tree, (path, { parameters, results }) =>
    module.importFunction('core', `linkage.${path}`, parameters, results),
  )
  return imported as unknown as Linkage
}
