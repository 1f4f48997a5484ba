/** Tests of the small parts: configurations, settings, gate, fence, sent log, effects. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { FormatError, UserError } from '../base/errors.ts'
import {
  CHANGE_KINDS,
  type Configuration,
  decodeConfiguration,
  encodeConfiguration,
  PHASES,
} from './configuration.ts'
import { checkEffects } from './effects.ts'
import { OutputFence } from './output_fence.ts'
import { OutputGate } from './output_gate.ts'
import { SentLog } from './sent_log.ts'
import { checkSettings, DEFAULT_SETTINGS } from './settings.ts'
import { output } from './testing/subject.ts'

const name = fc.stringMatching(/^[!-~]{1,60}$/)
const member = fc.record({ host: name, incarnation: name, diskGeneration: name }, { noNullPrototype: true })
const number = fc.integer({ min: 1, max: 0xffff_ffff })
const configurations: fc.Arbitrary<Configuration> = fc.record(
  {
    epoch: number,
    life: number,
    primary: member,
    backup: fc.option(member, { nil: undefined }),
    phase: fc.constantFrom(...PHASES),
    change: fc.constantFrom(...CHANGE_KINDS),
  },
  { noNullPrototype: true },
)

test('a configuration comes back from the arbiter as it was', () => {
  fc.assert(
    fc.property(configurations, (configuration) => {
      assert.deepEqual(decodeConfiguration(encodeConfiguration(configuration)), configuration)
    }),
  )
})

test('a configuration with one character changed is another one or none', () => {
  fc.assert(
    fc.property(configurations, fc.nat(), fc.integer({ min: 33, max: 126 }), (configuration, at, code) => {
      const { epoch, text } = encodeConfiguration(configuration)
      const index = at % text.length
      const changed = text.slice(0, index) + String.fromCharCode(code) + text.slice(index + 1)
      if (changed === text) return
      try {
        assert.notDeepEqual(decodeConfiguration({ epoch, text: changed }), configuration)
      } catch (error) {
        assert.ok(error instanceof FormatError, `${error}`)
      }
    }),
    { numRuns: 1000 },
  )
})

test('a decision under another epoch than its own is refused', () => {
  const { epoch, text } = encodeConfiguration(fc.sample(configurations, { numRuns: 1, seed: 3 })[0]!)
  assert.throws(() => decodeConfiguration({ epoch: epoch === 1 ? 2 : epoch - 1, text }), FormatError)
})

test('settings that cannot work together are refused by name', () => {
  assert.equal(checkSettings(DEFAULT_SETTINGS), DEFAULT_SETTINGS)
  const refuse = (change: Partial<typeof DEFAULT_SETTINGS>, message: RegExp) => {
    assert.throws(
      () => checkSettings({ ...DEFAULT_SETTINGS, ...change }),
      (error) => {
        assert.ok(error instanceof UserError)
        assert.match(error.message, message)
        return true
      },
    )
  }
  refuse({ flushMs: 0 }, /flushMs: 0 is not above zero/)
  refuse({ lagLimitMs: Number.NaN }, /lagLimitMs/)
  refuse({ suspicionMs: 100 }, /suspicionMs: 100 is less than three heartbeats/)
  refuse({ stallMs: 400 }, /stallMs/)
  refuse({ lagLimitMs: 100 }, /lagLimitMs/)
})

test('the gate releases in order, up to the limit, and each output once', () => {
  const gate = new OutputGate()
  for (const ordinal of [1, 2, 3]) gate.add(output(ordinal, 1, ordinal * 10))
  assert.deepEqual(gate.release(10n), [])
  assert.deepEqual(
    gate.release(21n).map(({ ordinal }) => ordinal),
    [1n, 2n],
  )
  assert.deepEqual(gate.release(21n), [])
  assert.equal(gate.isHolding, true)
  assert.deepEqual(
    gate.release(99n).map(({ ordinal }) => ordinal),
    [3n],
  )
  assert.equal(gate.isHolding, false)
})

test('the gate counts the bytes of what is held or unconfirmed', () => {
  const gate = new OutputGate()
  for (const ordinal of [1, 2, 3]) gate.add(output(ordinal))
  gate.release(99n)
  assert.equal(gate.bytes, 3)
  gate.onLeft(1, 2n)
  assert.equal(gate.bytes, 1)
  gate.holdAgain()
  assert.deepEqual(
    gate.release(99n).map(({ ordinal }) => ordinal),
    [3n],
  )
  gate.onLeft(1, 3n)
  assert.equal(gate.isEmpty, true)
})

test('what left before it was released here, by another copy, is not held any more', () => {
  const gate = new OutputGate()
  gate.add(output(1))
  gate.onLeft(1, 2n)
  gate.add(output(2))
  gate.add(output(3))
  gate.checkInvariants()
  assert.deepEqual(
    gate.release(99n).map(({ ordinal }) => ordinal),
    [3n],
  )
})

test('ports have ordinals of their own', () => {
  const gate = new OutputGate()
  gate.add(output(5, 1, 5))
  gate.add(output(2, 3, 6))
  gate.onLeft(1, 9n)
  gate.checkInvariants()
  assert.deepEqual(
    gate.release(99n).map(({ port }) => port),
    [3],
  )
})

test('the fence refuses lower epochs and takes each ordinal once in a life, whoever sends it', () => {
  const fence = new OutputFence()
  assert.deepEqual(fence.attach(3, 1), [])
  assert.equal(fence.take(3, 1, 1n), true)
  assert.equal(fence.take(3, 1, 1n), false)
  assert.deepEqual(fence.attach(4, 1), [{ port: 1, ordinal: 1n }])
  assert.equal(fence.take(3, 1, 2n), false, 'the old primary')
  assert.equal(fence.take(4, 1, 1n), false, 'emitted again')
  assert.equal(fence.take(4, 1, 2n), true)
  assert.equal(fence.attach(3, 1), undefined)
  assert.deepEqual(fence.attach(5, 5), [], 'a life of its own')
  assert.equal(fence.take(5, 1, 1n), true)
})

test('the sent log gives back what is not acknowledged, in whole batches', () => {
  const log = new SentLog(10n)
  log.push(new Uint8Array([1]), 10n, 12n, 100)
  log.push(new Uint8Array([2]), 12n, 15n, 200)
  log.push(new Uint8Array([3]), 15n, 16n, 300)
  assert.equal(log.unacknowledgedBytes, 3)
  assert.equal(log.lagMs(350), 250)
  assert.equal(log.onAck(12n, 10n), true)
  assert.equal(log.lagMs(350), 250, 'not executed yet')
  assert.deepEqual(log.from(12n), [new Uint8Array([2]), new Uint8Array([3])])
  assert.deepEqual(log.from(16n), [])
  assert.equal(log.from(13n), undefined, 'within a batch')
  assert.equal(log.from(10n), undefined, 'acknowledged')
  assert.equal(log.onAck(16n, 16n), true)
  assert.equal(log.lagMs(350), 0)
  assert.equal(log.unacknowledgedBytes, 0)
})

test('the sent log refuses acknowledgements of what was not sent, and ignores old ones', () => {
  const log = new SentLog(10n)
  log.push(new Uint8Array(1), 10n, 12n, 0)
  assert.equal(log.onAck(13n, 10n), false)
  assert.equal(log.onAck(11n, 12n), false, 'executed more than received')
  assert.equal(log.onAck(12n, 12n), true)
  assert.equal(log.onAck(10n, 10n), true)
  assert.equal(log.acked, 12n)
})

test('effects in a wrong order are refused', () => {
  const release = { kind: 'release', outputs: [] } as const
  const attach = { kind: 'attach', epoch: 1, life: 1 } as const
  const halt = { kind: 'halt', reason: 'x' } as const
  const message = { kind: 'refused', reason: 'x' } as const
  const wrong = [
    [halt, release],
    [attach],
    [{ kind: 'boot', life: 1 }, release, attach],
    [
      { kind: 'close', channel: 1 },
      { kind: 'send', channel: 1, message, urgent: false },
    ],
  ] as const
  for (const effects of wrong) assert.throws(() => checkEffects(effects))
  checkEffects([{ kind: 'boot', life: 1 }, attach, release, halt])
})
