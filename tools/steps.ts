/** The steps that `check.ts` and `test.ts` are made of. Each runs to its end, prints what it finds, and says whether it passed. */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { root } from './runtime.ts'

export interface Step {
  readonly name: string
  /** Arguments for Node. */
  readonly program: readonly string[]
}

const modules = join(root, 'node_modules')

/** What needs no run of our own code: types, lint and format, tidiness. */
export const staticSteps: readonly Step[] = [
  { name: 'types', program: [join(modules, 'typescript', 'bin', 'tsc'), '--build'] },
  {
    name: 'lint and format',
    program: [join(modules, '@biomejs', 'biome', 'bin', 'biome'), 'check', '--error-on-warnings'],
  },
  { name: 'tidy', program: [join(root, 'tools', 'tidy.ts')] },
]

/** The test files below `folders`, by their paths from the root. */
export function testFiles(folders: readonly string[]): string[] {
  return folders
    .flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((path) =>
        join(folder, path),
      ),
    )
    .filter((path) => path.endsWith('.test.ts'))
    .sort()
}

/** Far above what any test takes: a hang becomes a failure that names the file. */
const TEST_MILLISECONDS_MAX = 30 * 60 * 1000

/** `options` are those of Node's test runner. */
export function testStep(files: readonly string[], options: readonly string[] = []): Step {
  const defaults = [
    '--test-reporter=spec',
    `--test-concurrency=${availableParallelism()}`,
    `--test-timeout=${TEST_MILLISECONDS_MAX}`,
  ]
  return { name: `tests (${files.length} files)`, program: ['--test', ...defaults, ...options, ...files] }
}

/** Runs all steps, also after one has failed, and sets the exit status of this process. */
export function runSteps(steps: readonly Step[]): void {
  const failed = steps.filter((step) => !runStep(step))
  if (failed.length === 0) return
  console.error(`FAILED: ${failed.map((step) => step.name).join(', ')}`)
  process.exitCode = 1
}

function runStep({ name, program }: Step): boolean {
  const start = performance.now()
  console.log(`▶ ${name}`)
  const { status } = spawnSync(process.execPath, program, { cwd: root, stdio: 'inherit' })
  const seconds = ((performance.now() - start) / 1000).toFixed(1)
  console.log(`${status === 0 ? '✔' : '✖'} ${name} (${seconds} s)\n`)
  return status === 0
}
