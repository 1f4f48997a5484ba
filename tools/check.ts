/**
 * Everything that a change must pass before it is shown to others, in under two minutes: types, lint, format,
 * tidiness, and the tests that stand beside the code. Tests of the whole system, in `test/`, are left to test.ts.
 */
import { ensurePinnedNode } from './runtime.ts'
import { runSteps, staticSteps, testFiles, testStep } from './steps.ts'

ensurePinnedNode()
runSteps([...staticSteps, testStep(testFiles(['src', 'sim', 'tools', 'bench']))])
