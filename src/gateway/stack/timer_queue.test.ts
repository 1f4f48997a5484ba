import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Random } from '../../base/prng.ts'
import { type Timed, TimerQueue } from './timer_queue.ts'

class Entry implements Timed {
  queued: Timed['queued']
  deadline = Number.POSITIVE_INFINITY
  ranAt: number[] = []
  readonly #clock: { now: number }

  constructor(clock: { now: number }) {
    this.#clock = clock
  }

  onDeadline(): void {
    this.ranAt.push(this.#clock.now)
    this.deadline = Number.POSITIVE_INFINITY
  }
}

describe('the queue of timers', () => {
  it('does each thing at its deadline, however deadlines move, by seed', () => {
    for (let seed = 1; seed <= 50; seed++) {
      const random = new Random(seed)
      const clock = { now: 0 }
      let earlier = 0
      const queue = new TimerQueue(() => earlier++)
      const entries = Array.from({ length: 1 + random.below(40) }, () => new Entry(clock))
      for (clock.now = 0; clock.now < 500; clock.now++) {
        const ranBefore = entries.map(({ ranAt }) => ranAt.length)
        const due = entries.map(({ deadline, queued }) => queued !== undefined && deadline <= clock.now)
        queue.run(clock.now)
        entries.forEach(({ ranAt }, i) => {
          assert.equal(ranAt.length - ranBefore[i]!, due[i] ? 1 : 0, `seed ${seed}, ${clock.now}`)
        })
        for (let change = random.below(4); change > 0; change--) {
          const entry = random.pick(entries)
          if (random.chance(0.2)) queue.remove(entry)
          else {
            entry.deadline = clock.now + 1 + random.below(60)
            queue.schedule(entry)
          }
        }
        const waiting = entries.filter(({ queued }) => queued !== undefined).map(({ deadline }) => deadline)
        assert.ok(queue.earliest <= Math.min(...waiting))
      }
      assert.ok(earlier > 0)
    }
  })
})
