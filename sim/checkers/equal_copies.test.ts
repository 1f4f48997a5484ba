import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Observation } from '../observation.ts'
import { EqualCopies } from './equal_copies.ts'
import { failuresOf, goodStory, type Member, Stream } from './testing/stream.ts'

type Applied = Observation & { readonly kind: 'applied' }

function pair() {
  const stream = new Stream()
  const a = stream.coldStart('a')
  stream.log(a)
  const b = stream.join(a, 'b')
  return { stream, a, b }
}

/** The last thing that a copy applied becomes something else. */
function change(stream: Stream, { process }: Member, how: (applied: Applied) => Partial<Applied>): void {
  const at = stream.observations.findLastIndex(
    (observation) =>
      observation.kind === 'applied' && observation.process.incarnation === process.incarnation,
  )
  const applied = stream.observations[at] as Applied
  stream.observations[at] = { ...applied, ...how(applied) }
}

test('copies are equal in a good story, in which an old primary logs on', () => {
  const stream = goodStory()
  assert.deepEqual(failuresOf(new EqualCopies(), stream), [])

  const { stream: split, a, b } = pair()
  split.log(a)
  split.log(a)
  split.failOver(b)
  split.log(b)
  split.log(a)
  split.log(b)
  assert.deepEqual(failuresOf(new EqualCopies(), split), [])
})

test('another state after the same record is caught', () => {
  const { stream, a, b } = pair()
  stream.log(a)
  stream.feed(b, a)
  change(stream, b, ({ state }) => ({ state: state + 1n }))
  const [failure, ...others] = failuresOf(new EqualCopies(), stream)
  assert.match(
    failure!,
    /b\/b2 is in state \w+ after record 2 at position 20 of life 1, but a\/a1 was in state/,
  )
  assert.deepEqual(others, [])
})

test('another record, or the same at another position, is caught', () => {
  for (const how of [{ record: 5n }, { position: 21n }]) {
    const { stream, a, b } = pair()
    stream.log(a)
    stream.feed(b, a)
    change(stream, b, () => how)
    const [failure] = failuresOf(new EqualCopies(), stream)
    assert.match(
      failure!,
      /b\/b2 applied record 2 of life 1 at position 2\d as \w+, but a\/a1 applied record 2/,
    )
  }
})

test('a record left out and a record applied twice are caught', () => {
  const { stream, a, b } = pair()
  stream.log(a)
  stream.feed(b, a)
  change(stream, b, ({ index }) => ({ index: index + 1n }))
  const [left] = failuresOf(new EqualCopies(), stream)
  assert.match(left!, /b\/b2 applied record 3 .* and left out 2 to 2: it had applied those before 2/)

  const other = pair()
  change(other.stream, other.b, ({ index }) => ({ index: index - 1n }))
  const [twice] = failuresOf(new EqualCopies(), other.stream)
  assert.match(twice!, /b\/b2 applied record 0 .* a second time: it had applied those before 1/)
})

test('a position that goes back is caught, also at going live', () => {
  const { stream, a } = pair()
  stream.log(a)
  change(stream, a, () => ({ position: 3n }))
  assert.match(failuresOf(new EqualCopies(), stream)[0]!, /at position 3, but it was at position 10 already/)

  const { stream: other, b } = pair()
  other.failOver(b)
  other.observations.push({ ...other.observations.pop()!, position: 7n } as Observation)
  assert.match(
    failuresOf(new EqualCopies(), other)[0]!,
    /b\/b2 went live at position 7, .* machine was at 10/,
  )
})

test('a divergence without a corruption is caught', () => {
  const { stream, b } = pair()
  stream.put({ kind: 'diverged', process: b.process, report: 'page 3' })
  const [failure] = failuresOf(new EqualCopies(), stream)
  assert.match(failure!, /b\/b2 diverged, but no copy has been corrupted: page 3/)
})

test('a corrupted copy, and one that has got its state, may differ and diverge; others must be equal', () => {
  const { stream, a, b } = pair()
  stream.fault('RAM corruption', 'a')
  stream.log(a)
  a.entries[2] = { ...a.entries[2]!, state: 77n }
  change(stream, a, () => ({ state: 77n }))
  stream.feed(b, a)
  change(stream, b, () => ({ state: 78n }))
  stream.put({ kind: 'diverged', process: b.process, report: 'page 3' })
  const c = stream.join(a, 'c')
  stream.log(a)
  stream.feed(c, a)
  change(stream, c, () => ({ state: 79n }))
  stream.failOver(c)
  const d = stream.join(c, 'd')
  stream.log(c)
  stream.feed(d, c)
  assert.deepEqual(failuresOf(new EqualCopies(), stream), [])
  change(stream, d, () => ({ state: 80n }))
  assert.match(
    failuresOf(new EqualCopies(), stream)[0]!,
    /d\/d4 is in state 50 after record 6 .* but c\/c3 was in/,
  )
})
