import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Profile } from './profile.ts'

const at = (inPage: number, page = 5) => ({ page, inPage })

/** How often `ask` says that it is time, of so many times. */
const timesTrue = (ask: () => boolean, times: number): number =>
  Array.from({ length: times }, ask).filter((answer) => answer).length

test('a place is worth a translation when it has been met often enough, and then as often again', () => {
  const profile = new Profile({ meetings: 3, misses: 1000 })
  const answers = Array.from({ length: 7 }, () => profile.meet(at(128)))
  assert.deepEqual(answers, [false, false, true, false, false, true, false])
})

test('once can be enough', () => {
  const profile = new Profile({ meetings: 1, misses: 1000 })
  assert.ok(profile.meet(at(0)) && profile.meet(at(0)) && profile.meetArrival(at(0), false))
})

test('places of the same 64 bytes are met as one, those beside them are not', () => {
  const profile = new Profile({ meetings: 3, misses: 1000 })
  assert.ok(!profile.meet(at(128)) && !profile.meet(at(160)))
  assert.ok(!profile.meet(at(126)) && !profile.meet(at(192)))
  assert.ok(profile.meet(at(190)))
  assert.ok(!profile.meet(at(192)) && profile.meet(at(254)), '192 has been met before')
})

test('the same place in another page is another one', () => {
  const profile = new Profile({ meetings: 2, misses: 1000 })
  assert.ok(!profile.meet(at(64, 0)) && !profile.meet(at(64, 1)) && !profile.meet(at(0, 1)))
  assert.ok(profile.meet(at(64, 0)))
})

test('arrivals count at the very place, and apart from what is met there', () => {
  const profile = new Profile({ meetings: 2, misses: 1000 })
  assert.ok(
    !profile.meetArrival(at(128), false) && !profile.meetArrival(at(130), false),
    '130 is another place',
  )
  assert.ok(!profile.meet(at(128)), 'it has been arrived at once, and met once')
  assert.ok(
    profile.meetArrival(at(128), false) && profile.meetArrival(at(130), false) && profile.meet(at(128)),
  )
})

test('the last page of the largest RAM is not confused with any arrival', () => {
  const profile = new Profile({ meetings: 2, misses: 1000 })
  const last = 3 * 2 ** 18 - 1
  assert.ok(
    !profile.meet(at(4032, last)) &&
      !profile.meetArrival(at(0, 0), false) &&
      !profile.meetArrival(at(4032, last), false),
  )
})

test('what is forgotten is met anew', () => {
  const profile = new Profile({ meetings: 2, misses: 1000 })
  profile.meet(at(0))
  profile.meetArrival(at(0), false)
  profile.forget()
  assert.ok(!profile.meet(at(0)) && !profile.meetArrival(at(0), false))
  assert.ok(profile.meet(at(0)) && profile.meetArrival(at(0), false))
})

test('more places than it keeps make it forget all, and go on', () => {
  const profile = new Profile({ meetings: 2, misses: 1000 })
  const far = { page: 1_000_000, inPage: 0 }
  profile.meet(far)
  const isTime = timesTrue(
    (
      (page) => () =>
        profile.meet(at(0, page++))
    )(0),
    100_000,
  )
  assert.equal(isTime, 0)
  assert.ok(!profile.meet(far), 'it was forgotten')
  assert.ok(profile.meet(far))
})

test('a jump is made anew with all targets that were met, each time after twice as many meetings', () => {
  const profile = new Profile({ meetings: 3, misses: 1000 })
  const meet = (...targets: number[]) => targets.filter((to) => profile.meetTarget(at(0), at(to))).length
  const known = () =>
    profile
      .jumpsOf(at(0).page)
      .get(0)
      ?.all.map(({ inPage }) => inPage) ?? []
  assert.deepEqual(known(), [])
  assert.equal(meet(8, 16), 0)
  assert.ok(!profile.meetTarget(at(4), at(24)), 'another jump counts apart')
  assert.equal(meet(16), 1)
  assert.deepEqual(known(), [8, 16])
  assert.equal(meet(32, 32, 32, 32, 40), 0)
  assert.equal(meet(32), 1)
  assert.deepEqual(known(), [8, 16, 32, 40])
  assert.equal(meet(...Array.from({ length: 1000 }, (_, i) => i * 2)), 6)
  assert.equal(known().length, 64)
  assert.deepEqual(
    profile.jumpsOf(at(0).page).get(0)?.first,
    at(16),
    'the most frequent one of the first time',
  )
})

test('more targets than it keeps make it forget the jumps', () => {
  const profile = new Profile({ meetings: 1000, misses: 1000 })
  for (let i = 0; i < 20_000; i++) profile.meetTarget({ page: i, inPage: 0 }, at(8))
  assert.equal(profile.jumpsOf(0).size, 1)
  profile.meetTarget({ page: 30_000, inPage: 0 }, at(8))
  assert.equal(profile.jumpsOf(0).size, 0)
})

test('meetings count half after ten thousand million steps, and soon nothing', () => {
  const profile = new Profile({ meetings: 8, misses: 1000 })
  const meet = (times: number) => timesTrue(() => profile.meet(at(0)), times)
  assert.equal(meet(6), 0)
  for (const steps of [4e9, 6e9]) profile.tick(steps)
  assert.equal(meet(4), 0, 'three of them were left')
  assert.equal(meet(1), 1)
  assert.equal(meet(7), 0)
  for (let i = 0; i < 3; i++) profile.tick(1e10)
  assert.equal(meet(7), 0)
})

test('misses count at the very place, as many as each stands for', () => {
  const profile = new Profile({ meetings: 3, misses: 1000 })
  assert.ok(!profile.meetMiss(at(128), 400) && !profile.meetMiss(at(130), 900))
  assert.ok(!profile.meet(at(128)) && !profile.meetArrival(at(128), false), 'other ways count apart')
  assert.ok(!profile.meetMiss(at(128), 500) && profile.meetMiss(at(128), 100))
  assert.ok(!profile.meetMiss(at(128), 999))
})
