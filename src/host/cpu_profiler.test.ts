import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type CallNode, CpuProfiler, callNodes } from './cpu_profiler.ts'

const frame = (functionName: string) => ({ functionName, url: '' })

test('a sample stands for the time until the next one, and calls are known from below', () => {
  const nodes = callNodes({
    nodes: [
      { id: 1, callFrame: frame('(root)'), children: [5, 3] },
      { id: 5, callFrame: frame('outer'), children: [4] },
      { id: 3, callFrame: frame('(program)') },
      { id: 4, callFrame: frame('inner') },
    ],
    ...{ startTime: 1_000_000, endTime: 1_010_000 },
    ...{ samples: [5, 4, 3, 4], timeDeltas: [1000, 2000, -500, 4000] },
  })
  assert.deepEqual(
    nodes.map(({ name, caller, ms }) => [name, caller, ms]),
    [
      ['(root)', undefined, 0],
      ['outer', 0, 2],
      ['(program)', 0, 4],
      ['inner', 1, 3.5],
    ],
  )
})

test('what this thread does is sampled', () => {
  const pieces: (readonly CallNode[])[] = []
  const profiler = new CpuProfiler((nodes) => pieces.push(nodes))
  profiler.start()
  spin(200)
  profiler.stop()
  profiler.stop()
  assert.equal(pieces.length, 1)
  const [nodes = []] = pieces
  assert.ok(nodes.some(({ name }) => name === 'spin'))
  const time = nodes.reduce((sum, { ms }) => sum + ms, 0)
  assert.ok(time > 100, `${time} ms`)
})

function spin(ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end);
}
