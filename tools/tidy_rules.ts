/** The rules that neither the compiler nor Biome keeps, each a function from a file to its violations. */
import { posix } from 'node:path'
import { layers, outerLayers, programs, pureFolders, testImports } from './layers.ts'
import { type Import, importsOf, type Token, tokenize } from './tokens.ts'

export interface SourceFile {
  /** From the root of the repository, with slashes. */
  readonly path: string
  readonly text: string
}

export interface Violation {
  readonly path: string
  readonly line: number
  readonly message: string
}

/** A file that may be longer than the rest, and why. */
export interface LongFile {
  readonly path: string
  readonly reason: string
}

export const FILE_LINES_MAX = 500

/** Spelled in two parts, so that this file keeps its own rule. */
const forbiddenWords = new RegExp(`\\b(?:TO${'DO'}|FIX${'ME'}|X${'XX'})\\b`)
const vagueNames = new Set(['util', 'utils', 'helper', 'helpers', 'common', 'misc', 'manager'])

/** Names that bring in time, chance, the host's load or the outside. (`fetch` is a word of the field.) */
const impureNames = new Set([
  ...['Date', 'performance', 'Temporal', 'Intl'],
  ...['setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask', 'requestAnimationFrame'],
  ...['Promise', 'async', 'await'],
  ...['process', 'globalThis', 'console', 'crypto', 'Worker', 'WebAssembly', 'eval', 'require'],
  ...['WeakRef', 'FinalizationRegistry'],
])

/** All violations of one file. Only TypeScript is looked into; other text only for forbidden words. */
export function tidyFile(file: SourceFile, longFiles: readonly LongFile[] = []): Violation[] {
  const general = [...checkName(file), ...checkWords(file)]
  if (!file.path.endsWith('.ts')) return general
  const tokens = tokenize(file.text)
  return [
    ...general,
    ...checkLength(file, longFiles),
    ...checkImports(file, importsOf(tokens)),
    ...checkPurity(file, tokens),
  ]
}

function checkName({ path }: SourceFile): Violation[] {
  const vague = path.split(/[/_.-]/).find((part) => vagueNames.has(part.toLowerCase()))
  if (!vague) return []
  return [{ path, line: 1, message: `'${vague}' says nothing: name the file by what is in it` }]
}

function checkWords({ path, text }: SourceFile): Violation[] {
  return text.split('\n').flatMap((content, index) => {
    const found = forbiddenWords.exec(content)
    return found ? [{ path, line: index + 1, message: `${found[0]}: do it or leave it out` }] : []
  })
}

function checkLength({ path, text }: SourceFile, longFiles: readonly LongFile[]): Violation[] {
  const lines = text.split('\n').length - 1
  const isLong = lines > FILE_LINES_MAX
  const isAllowed = longFiles.some((long) => long.path === path)
  if (isLong === isAllowed) return []
  const message = isLong
    ? `${lines} lines, at most ${FILE_LINES_MAX}: divide the file`
    : 'is no longer too long: take it off the list of long files in tools/tidy.ts'
  return [{ path, line: lines, message }]
}

/** Where a file stands: `src/isa/decode.test.ts` is a test in layer `isa`; `tools/` and the like are in no layer. */
function placeOf(path: string): { layer: string | undefined; isTest: boolean } {
  return { layer: layerOf(path), isTest: path.endsWith('.test.ts') }
}

/** What is pure and holds this file: its layer, or a folder of it. */
function pureWhole(path: string): string | undefined {
  const folder = pureFolders.find((each) => path.startsWith(`${each}/`))
  if (folder !== undefined) return folder
  const { layer } = placeOf(path)
  return layer !== undefined && layers[layer]?.pure ? layer : undefined
}

function layerOf(path: string): string | undefined {
  if (programs.includes(path)) return undefined
  const [top = '', below = ''] = path.split('/')
  if (outerLayers.includes(top)) return top
  if (top !== 'src') return undefined
  return outerLayers.includes(below) ? `src/${below}` : below
}

function checkImports({ path }: SourceFile, imports: readonly Import[]): Violation[] {
  return imports.flatMap((found) => {
    const message = found.specifier.startsWith('.')
      ? relativeImportProblem(path, found)
      : packageImportProblem(path, found)
    return message === undefined ? [] : [{ path, line: found.line, message }]
  })
}

function packageImportProblem(path: string, { specifier }: Import): string | undefined {
  const whole = pureWhole(path)
  if (whole === undefined || placeOf(path).isTest) return undefined
  return `imports '${specifier}': ${whole} is pure and imports nothing from outside`
}

function relativeImportProblem(path: string, { specifier, isTypeOnly }: Import): string | undefined {
  if (!specifier.endsWith('.ts')) return `imports '${specifier}' without the ending .ts`
  const target = posix.join(posix.dirname(path), specifier)
  if (target.endsWith('.test.ts')) return `imports the test ${target}`
  const { layer, isTest } = placeOf(path)
  if (layer === undefined) return undefined
  const rules = layers[layer]
  if (!rules) return `'${layer}' is not a layer: see tools/layers.ts`
  const folder = pureFolders.find((each) => path.startsWith(`${each}/`))
  const targetLayer = placeOf(target).layer
  if (folder !== undefined && !isTest && targetLayer === layer && !target.startsWith(`${folder}/`)) {
    return `${folder} is pure and must not import ${target}`
  }
  if (targetLayer === undefined) return `imports ${target}, which is in no layer`
  if (targetLayer === layer || rules.imports.includes(targetLayer)) return undefined
  const typesAllowed = rules.types?.includes(targetLayer) ?? false
  if (isTest && (typesAllowed || testImports.includes(targetLayer))) return undefined
  if (!typesAllowed) return `${layer} must not import ${targetLayer}`
  return isTypeOnly ? undefined : `${layer} may import only types of ${targetLayer}: use 'import type'`
}

function checkPurity({ path }: SourceFile, tokens: readonly Token[]): Violation[] {
  const whole = pureWhole(path)
  if (whole === undefined || placeOf(path).isTest) return []
  return tokens.flatMap((token, index) => {
    const name = impureName(tokens, index)
    return name ? [{ path, line: token.line, message: `'${name}' in ${whole}, which is pure` }] : []
  })
}

/** The banned name that stands at `index`, unless it is a member of something or the key of a property. */
function impureName(tokens: readonly Token[], index: number): string | undefined {
  const token = tokens[index]!
  if (token.kind !== 'word') return undefined
  const before = tokens[index - 1]?.text
  if (before === '.' || before === '?.') {
    return token.text === 'random' && tokens[index - 2]?.text === 'Math' ? 'Math.random' : undefined
  }
  const isKey = tokens[index + 1]?.text === ':' && (before === '{' || before === ',' || before === 'readonly')
  return impureNames.has(token.text) && !isKey ? token.text : undefined
}

/** The part of a layer's tsconfig.json that the rules are about. */
export interface LayerConfiguration {
  readonly compilerOptions: { readonly types?: readonly string[]; readonly lib?: readonly string[] }
  readonly references: readonly { readonly path: string }[]
}

/** Where the tsconfig.json of a layer stands. */
function configurationPath(layer: string): string {
  return `${outerLayers.includes(layer) ? layer : `src/${layer}`}/tsconfig.json`
}

/** A layer's tsconfig.json may let the compiler see no more than the layer may import. */
export function tidyConfiguration(layer: string, configuration: LayerConfiguration): Violation[] {
  const path = configurationPath(layer)
  const rules = layers[layer]
  if (!rules) return [{ path, line: 1, message: `'${layer}' is not a layer: see tools/layers.ts` }]
  const { types = [], lib = [] } = configuration.compilerOptions
  const allowed = [...rules.imports, ...(rules.types ?? [])]
  const messages = configuration.references
    .map((reference) => posix.basename(reference.path))
    .filter((reference) => !allowed.includes(reference))
    .map((reference) => `${layer} must not refer to ${reference}`)
  if (rules.pure && (types.length > 0 || lib.includes('dom'))) {
    messages.push(`${layer} is pure: no types of Node or of browsers`)
  }
  return messages.map((message) => ({ path, line: 1, message }))
}
