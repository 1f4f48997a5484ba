/**
 * Builds `dist/`, the program as JavaScript, before npm packs it: Node strips types only outside of node_modules.
 * The compiler turns imports of `./x.ts` into `./x.js`. It leaves paths that are only data alone, such as the URL of
 * a worker's module, so these are changed here; one in any other form stops the build.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ensurePinnedNode, root } from './runtime.ts'
import { tokenize } from './tokens.ts'

const moduleUrl = /new URL\((['"])(\.{1,2}\/[^'"\n]+)\.ts\1, import\.meta\.url\)/g

/** Points the URLs of modules at the compiled files. */
export function rewriteModuleUrls(source: string): string {
  return source.replaceAll(moduleUrl, 'new URL($1$2.js$1, import.meta.url)')
}

/** The relative paths of TypeScript files that are still in compiled code, where they would lead nowhere. */
export function strayPaths(source: string): string[] {
  return tokenize(source)
    .filter(
      ({ kind, text }) => (kind === 'string' || kind === 'template') && /^\.{1,2}\/.*\.ts`?$/.test(text),
    )
    .map(({ text }) => text)
}

function main(): void {
  const dist = join(root, 'dist')
  rmSync(dist, { recursive: true, force: true })
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const program = [compiler, '--project', join(root, 'tsconfig.package.json')]
  const { status } = spawnSync(process.execPath, program, { stdio: 'inherit' })
  if (status !== 0) {
    process.exitCode = 1
    return
  }
  for (const path of readdirSync(dist, { recursive: true, encoding: 'utf8' })) {
    if (path.endsWith('.js')) finishFile(join(dist, path))
  }
}

function finishFile(path: string): void {
  const source = rewriteModuleUrls(readFileSync(path, 'utf8'))
  writeFileSync(path, source)
  for (const stray of strayPaths(source)) {
    console.error(`${path}: '${stray}' names a TypeScript file: write new URL('./x.ts', import.meta.url)`)
    process.exitCode = 1
  }
}

if (import.meta.main) {
  ensurePinnedNode()
  main()
}
