import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ArbiterMemory, type Known } from './arbiter_memory.ts'

const known = (epoch: number, text = `${epoch}`, identity = 'one'): Known => ({
  identity,
  decision: epoch === 0 ? undefined : { epoch, text },
})

function memoryOf(...answers: Known[]): ArbiterMemory {
  const memory = new ArbiterMemory('it')
  for (const answer of answers) memory.learn(memory.known, answer)
  return memory
}

test('a chain that grows is trusted', () => {
  assert.equal(memoryOf(known(0), known(0), known(1), known(1), known(5)).distrust, undefined)
})

test('whoever forgets, changes or is another one is never trusted again', () => {
  const cases: [Known[], RegExp][] = [
    [[known(2), known(1)], /^it: it has forgotten decision 2: now its latest is 1/],
    [[known(2), known(0)], /^it: it has forgotten decision 2: now it has none/],
    [[known(2), known(2, 'other')], /^it: its decision 2 is another one than before/],
    [[known(2), known(3, '3', 'two')], /^it: it is another one than before: two instead of one/],
    [[known(0), known(1, '1', 'two')], /another one/],
  ]
  for (const [answers, reason] of cases) {
    assert.match(`${memoryOf(...answers).distrust}`, reason)
    assert.match(`${memoryOf(...answers, known(9)).distrust}`, reason)
  }
})

test('an answer is held only against what was known when it was asked for', () => {
  const memory = memoryOf(known(1))
  const before = memory.known
  memory.learn(before, known(3))
  memory.learn(before, known(2))
  assert.equal(memory.distrust, undefined)
  assert.equal(memory.known.decision?.epoch, 3)
  memory.learn(before, known(3, 'other'))
  assert.match(`${memory.distrust}`, /decision 3 is another one/)
})
