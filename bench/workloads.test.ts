import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Mark } from './marks.ts'
import { resultsOf, workloadScript } from './workloads.ts'

/** Marks, each with the second of its arrival. */
function marksAt(...marks: readonly (readonly [number, string])[]): Mark[] {
  return marks.map(([seconds, mark]) => ({ mark, ms: seconds * 1000 }))
}

test("a workload's time is that from its mark to the next one's, whatever it tells in between", () => {
  const results = resultsOf(marksAt([1, '0'], [3, '=1f'], [4, '2'], [9, 'failed'], [10, 'end']))
  assert.deepEqual(
    [...results],
    [
      [0, { seconds: 3, checksum: '1f', hasFailed: false, isCounted: false }],
      [2, { seconds: 6, checksum: undefined, hasFailed: true, isCounted: false }],
    ],
  )
})

test('a counted workload takes what one of each kind of operation takes, by the clock of the host', () => {
  const sign = ['+DTP:256:sign:ecdsa:1', '+R5:20:256:0.97'] as const
  const verify = ['+DTP:256:verify:ecdsa:1', '+R6:10:256:1.00'] as const
  const first = marksAt([0, '0'], [2, sign[0]], [4, sign[1]], [4, verify[0]], [7, verify[1]])
  const marks = [...first, ...marksAt([7, '+F4:3:256:1.0:1.0'], [8, 'end'])]
  assert.equal(resultsOf(marks).get(0)!.seconds, 2 / 20 + 3 / 10)
})

test('the script marks a workload by its place in the list, also where others are left out', () => {
  const workloads = ['a', 'b'].map((name) => ({ name, program: name, command: `run ${name}` }))
  const script = workloadScript(workloads, ({ name }) => name === 'b')
  assert.match(script, /echo @1\n\{ run b\n\} \|\| echo @failed\necho @end\n$/)
  assert.doesNotMatch(script, /run a/)
})
