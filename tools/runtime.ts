/**
 * The runtime that the repository pins. Node itself comes as an npm package, which npm scripts find first on their
 * PATH; whoever calls a tool with another Node is passed on to it.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The root of the repository. */
export const root = fileURLToPath(new URL('..', import.meta.url))

/** The pinned Node of this platform, or undefined where npm has none for it. */
function pinnedNode(): { readonly path: string; readonly version: string } | undefined {
  const system = process.platform === 'win32' ? 'win' : process.platform
  const folder = join(root, 'node_modules', `node-${system}-${process.arch}`)
  const path = join(folder, 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
  if (!existsSync(path)) return undefined
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string }
  return { path, version }
}

/** Runs this program again under the pinned Node, and ends with its status, if that is not the one it runs under. */
export function ensurePinnedNode(): void {
  if (!existsSync(join(root, 'node_modules'))) {
    console.error('node_modules is missing: run npm install')
    process.exit(1)
  }
  const pinned = pinnedNode()
  if (!pinned || pinned.version === process.versions.node) return
  const { status } = spawnSync(pinned.path, process.argv.slice(1), { stdio: 'inherit' })
  process.exit(status ?? 1)
}
