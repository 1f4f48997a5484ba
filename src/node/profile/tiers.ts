/** What the functions do that a CPU profile speaks of: to which tier of the machine their time belongs. */
import type { CallNode } from '../../host/cpu_profiler.ts'

/** Ways in which the time of a run can go. */
export const TIERS = [
  /** Regions. */
  'translated',
  'interpreter',
  /** From one region to the next (chain.ts). */
  'chain',
  /** Slow paths of both, and floating point: all else of the core module. */
  'core',
  /** What translates: JavaScript, and V8's compiling as far as it is waited for. */
  'translator',
  'decoding',
  'devices',
  /** All other JavaScript. */
  'host',
  /** Outside of any function: V8 and Node.js themselves. */
  'native',
  /** In WebAssembly, but nobody knows where. */
  'unknown',
  'gc',
  'idle',
] as const
export type ProfileTier = (typeof TIERS)[number]

const NO_FUNCTION: Readonly<Record<string, ProfileTier>> = {
  '(root)': 'native',
  '(program)': 'native',
  '(garbage collector)': 'gc',
  '(idle)': 'idle',
}
const WEBASSEMBLY = 'wasm://'
const REGION = /^region\d+$/
/**
 * What V8 puts between JavaScript and WebAssembly. It takes next to no time: where it seems to, it has called what the profiler
 * has not been told of.
 */
const PASSAGE = /^(?:js-to-wasm|wasm-to-js)/
/** The first one that fits decides, from a function to its callers. */
const SOURCES: readonly (readonly [RegExp, ProfileTier])[] = [
  [/\/machine\/translator\//, 'translator'],
  [/\/machine\/predecode\./, 'decoding'],
  [/\/devices\/|\/machine\/bus\.|\/board\/(?:sbi|htif)\./, 'devices'],
  [/\/machine\/machine\./, 'host'],
]

export interface FunctionTime {
  readonly tier: ProfileTier
  readonly name: string
  ms: number
}

/** Milliseconds by tier, by region, and by name of all other functions. */
export class TimeByTier {
  readonly tiers: Record<ProfileTier, number>
  readonly regions = new Map<string, number>()
  readonly #functions = new Map<string, FunctionTime>()

  constructor() {
    this.tiers = Object.fromEntries(TIERS.map((tier) => [tier, 0])) as Record<ProfileTier, number>
  }

  get ms(): number {
    return TIERS.reduce((sum, tier) => sum + this.tiers[tier], 0)
  }

  add(nodes: readonly CallNode[]): void {
    for (const node of nodes) {
      if (node.ms === 0) continue
      const tier = tierOf(nodes, node)
      this.tiers[tier] += node.ms
      if (REGION.test(node.name)) this.#addRegion(node)
      else this.#addFunction(tier, node)
    }
  }

  /** The functions that are no regions. */
  get functions(): readonly FunctionTime[] {
    return [...this.#functions.values()]
  }

  #addRegion({ name, ms }: CallNode): void {
    this.regions.set(name, (this.regions.get(name) ?? 0) + ms)
  }

  #addFunction(tier: ProfileTier, { name, ms }: CallNode): void {
    const key = `${tier} ${name}`
    const former = this.#functions.get(key)
    if (former === undefined) this.#functions.set(key, { tier, name, ms })
    else former.ms += ms
  }
}

export function tierOf(nodes: readonly CallNode[], node: CallNode): ProfileTier {
  const special = NO_FUNCTION[node.name]
  if (special !== undefined && node.url === '') return special
  let isBuiltIn = true
  for (let at: CallNode | undefined = node; at !== undefined; at = callerOf(nodes, at)) {
    const { name, url } = at
    // What is built in works for its caller; JavaScript that WebAssembly calls does not work for the interpreter.
    if (url.startsWith(WEBASSEMBLY)) return isBuiltIn ? webAssemblyTier(name) : 'host'
    if (url !== '') isBuiltIn = false
    const source = SOURCES.find(([pattern]) => pattern.test(url))
    if (source !== undefined) return source[1]
  }
  return 'host'
}

function callerOf(nodes: readonly CallNode[], { caller }: CallNode): CallNode | undefined {
  return caller === undefined ? undefined : nodes[caller]
}

function webAssemblyTier(name: string): ProfileTier {
  if (PASSAGE.test(name)) return 'unknown'
  if (REGION.test(name)) return 'translated'
  if (name === 'run') return 'interpreter'
  return name === 'chain' ? 'chain' : 'core'
}
