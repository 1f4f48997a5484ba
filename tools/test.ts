/**
 * All tests: `npm test`. With words, `npm test -- devices elf`, only the test files whose paths contain one of them,
 * and no static checks; options such as `--test-name-pattern=overlay` go to Node's test runner.
 */
import { ensurePinnedNode } from './runtime.ts'
import { runSteps, staticSteps, testFiles, testStep } from './steps.ts'

function main(): void {
  const words = process.argv.slice(2).filter((word) => !word.startsWith('-'))
  const options = process.argv.slice(2).filter((word) => word.startsWith('-'))
  const all = testFiles(['src', 'sim', 'test', 'tools', 'bench'])
  if (words.length === 0) {
    runSteps([...(options.length === 0 ? staticSteps : []), testStep(all, options)])
    return
  }
  const files = all.filter((path) => words.some((word) => path.includes(word)))
  if (files.length === 0) {
    console.error(`no test file has ${words.map((word) => `'${word}'`).join(' or ')} in its path`)
    process.exitCode = 1
    return
  }
  runSteps([testStep(files, options)])
}

ensurePinnedNode()
main()
