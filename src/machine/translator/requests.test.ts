import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Request, Requests } from './requests.ts'

const at = (page: number, inPage: number, rest: Partial<Request> = {}): Request => ({
  place: { page, inPage, virtualPage: 0n },
  why: 'arrival',
  ...rest,
})

test('what was asked for most often comes first, and of the same the oldest', () => {
  const requests = new Requests()
  for (const inPage of [8, 16, 24, 16]) requests.add(at(1, inPage))
  assert.equal(requests.size, 3)
  assert.deepEqual(
    [1, 1, 1, 1].map((times) => requests.take(times)?.place.inPage),
    [16, 8, 24, undefined],
  )
  assert.equal(requests.size, 0)
})

test('what was asked for too seldom goes on waiting', () => {
  const requests = new Requests()
  requests.add(at(1, 8))
  assert.equal(requests.take(2), undefined)
  requests.add(at(1, 8))
  assert.equal(requests.take(2)?.place.inPage, 8)
})

test('places that are near stand for each other only where just that is known', () => {
  const requests = new Requests()
  requests.add(at(1, 0, { why: 'near' }))
  requests.add(at(1, 62, { why: 'near' }))
  requests.add(at(1, 64, { why: 'near' }))
  requests.add(at(2, 0, { why: 'near' }))
  assert.equal(requests.size, 3)
  requests.add(at(1, 0))
  requests.add(at(1, 62))
  assert.equal(requests.size, 5)
})

test('one that waits has a new target of its jump, and one that is nothing but counted has not', () => {
  const requests = new Requests()
  assert.ok(requests.add(at(1, 8, { why: 'anew', target: 100 })))
  assert.ok(requests.add(at(1, 8, { why: 'anew', target: 200 })))
  assert.ok(requests.add(at(1, 16)))
  assert.ok(!requests.add(at(1, 16, { why: 'anew', target: 100 })))
})

test('the rest of what has had a part of its turn comes next, however cold', () => {
  const requests = new Requests()
  for (let time = 0; time < 3; time++) requests.add(at(1, 8))
  requests.putBack(at(2, 0, { why: 'anew', left: [] }))
  assert.equal(requests.size, 2)
  assert.equal(requests.take(3)?.place.page, 2)
  assert.equal(requests.take(3)?.place.page, 1)
})

test('no more than a thousand wait', () => {
  const requests = new Requests()
  for (let page = 0; page < 1000; page++) assert.ok(requests.add(at(page, 0)))
  assert.ok(!requests.add(at(1000, 0)))
  requests.add(at(999, 0))
  assert.equal(requests.take(2)?.place.page, 999)
  requests.clear()
  assert.equal(requests.take(1), undefined)
})
