import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LawfulHalts } from './lawful_halts.ts'
import { failuresOf, Stream } from './testing/stream.ts'

function pair({ isCalm = false } = {}) {
  const stream = new Stream()
  if (!isCalm) stream.fault('partition', 'a <> b')
  const a = stream.coldStart('a')
  const b = stream.join(a, 'b')
  return { stream, a, b }
}

function firstFailure(stream: Stream): string {
  return failuresOf(new LawfulHalts(), stream)[0] ?? 'nothing'
}

test('whoever was replaced, whose join ended, or who was asked to, may halt', () => {
  const { stream, a, b } = pair()
  stream.failOver(b)
  stream.halt(a, 'deposed: configuration 3 (go live)')
  const c = stream.start('c')
  stream.halt(c, 'the primary has begun another join')
  const d = stream.join(b, 'd')
  stream.decide('stop', b, d)
  stream.halt(d, 'replaced: configuration 5 (stop)')
  stream.halt(b, 'stopped')
  assert.equal(firstFailure(stream), 'nothing')
})

test('whoever is still named has not been replaced', () => {
  const { stream, b } = pair()
  stream.halt(b, 'replaced: configuration 2 (add)')
  assert.match(firstFailure(stream), /b\/b2 has halted \(replaced.*\), though it is in configuration 2/)
})

test('a halt for an unknown reason, or without its cause, is caught', () => {
  const { stream, b } = pair()
  stream.halt(b, 'the claim was lost')
  assert.match(firstFailure(stream), /b\/b2 has halted \(the claim was lost\), which is no lawful reason/)

  const other = pair()
  other.stream.halt(other.b, 'this copy has left')
  assert.match(firstFailure(other.stream), /but there has been no RAM corruption and no failing disk/)
})

test('without a fault nobody is suspected', () => {
  const { stream, a } = pair({ isCalm: true })
  assert.equal(firstFailure(stream), 'nothing')
  stream.decide('drop', a)
  assert.match(
    firstFailure(stream),
    /configuration 3 \(drop: a\/a1 alone\) was decided after configuration 2 .* no fault/,
  )
})
