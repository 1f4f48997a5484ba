/**
 * Keeps the style that no other tool keeps: import directions, purity, lengths, names. `node tools/tidy.ts` prints
 * each violation as `path:line: message` and fails if there is one. (Biome keeps the length of functions.)
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './runtime.ts'
import {
  type LayerConfiguration,
  type LongFile,
  tidyConfiguration,
  tidyFile,
  type Violation,
} from './tidy_rules.ts'

/** Tables, which are easier to read in one piece. */
const longFiles: readonly LongFile[] = []

const generatedFolders = new Set(['node_modules', 'build', 'dist', '.git'])
const textFile = /\.(?:ts|js|json|md|sh|s|S|ld|yml|dts|html|css)$|(?:^|\/)(?:understudy|run)$/

/** The text files of the repository that people write, by their paths from the root. */
function repositoryFiles(folder = ''): string[] {
  const entries = readdirSync(join(root, folder), { withFileTypes: true })
  return entries.flatMap((entry) => {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`
    if (entry.isDirectory()) return generatedFolders.has(entry.name) ? [] : repositoryFiles(path)
    return entry.isFile() && textFile.test(path) && path !== 'package-lock.json' ? [path] : []
  })
}

/** All violations in the repository, by path. */
export function tidyRepository(): Violation[] {
  const paths = repositoryFiles().sort()
  const missing = longFiles.filter((long) => !paths.includes(long.path))
  return [
    ...missing.map(({ path }) => ({ path, line: 1, message: 'is on the list of long files but not there' })),
    ...paths.flatMap((path) => tidyPath(path)),
  ]
}

function tidyPath(path: string): Violation[] {
  const text = readFileSync(join(root, path), 'utf8')
  const layer = /^(?:src\/)?([^/]+)\/tsconfig\.json$/.exec(path)?.[1]
  const violations = tidyFile({ path, text }, longFiles)
  if (layer === undefined) return violations
  return [...violations, ...tidyConfiguration(layer, JSON.parse(text) as LayerConfiguration)]
}

function main(): void {
  const violations = tidyRepository()
  for (const { path, line, message } of violations) console.error(`${path}:${line}: ${message}`)
  if (violations.length > 0) process.exitCode = 1
}

if (import.meta.main) main()
