/** What holds for a member in any role: whatever its peers say, it is they who are refused, and not it that stops. */
import { test } from 'node:test'
import fc from 'fast-check'
import type { Message } from './message.ts'
import type { Input } from './ports.ts'
import { CHUNK, START } from './testing/backup.ts'
import { A, B, joining, PAIR, pair } from './testing/primary.ts'
import { batch, configuration, frontier, identity, output, Subject } from './testing/subject.ts'

const flat = { noNullPrototype: true } as const
const kind = <K extends Message['kind']>(value: K) => fc.constant(value)
const small = fc.nat(3)
const index = fc.bigInt({ min: 0n, max: 16n })
const name = fc.constantFrom('a1', 'b1', 'b2')
const member = fc.constantFrom(A, B, identity('b', 'b2'), identity('c'))
const resume = fc.option(fc.record({ join: small, nextChunk: small, nextIndex: index }, flat), {
  nil: undefined,
})
const bytes = fc.oneof(
  fc
    .record({ first: fc.nat(16), count: fc.integer({ min: 1, max: 3 }) })
    .map(({ first, count }) => batch(first, count)),
  fc.uint8Array({ maxLength: 60 }),
)
const released = fc.array(fc.record({ port: small, ordinal: index }, flat), { maxLength: 2 })

const message: fc.Arbitrary<Message> = fc.oneof(
  member.map(({ host, incarnation }) => ({ kind: 'hello', machine: 'm', host, incarnation }) as const),
  fc.record({ kind: kind('join'), member, baseGeneration: fc.constant(undefined), resume }, flat),
  fc.record(
    {
      kind: kind('joinStart'),
      join: small,
      epoch: small,
      life: small,
      nextIndex: index,
      position: index,
      released,
    },
    flat,
  ),
  fc.record(
    {
      kind: kind('pendingOutput'),
      join: small,
      port: small,
      ordinal: index,
      index,
      bytes: fc.constant(new Uint8Array(1)),
    },
    flat,
  ),
  fc.record(
    {
      kind: kind('chunk'),
      join: small,
      number: small,
      isLast: fc.boolean(),
      bytes: fc.constant(new Uint8Array(1)),
    },
    flat,
  ),
  fc.record({ kind: kind('chunkAck'), join: small, next: small }, flat),
  fc.record({ kind: kind('installed'), join: small }, flat),
  fc.record({ kind: kind('follow'), epoch: small, nextIndex: index }, flat),
  fc.record({ kind: kind('refused'), reason: fc.constant('no') }, flat),
  fc.record({ kind: kind('batch'), bytes }, flat),
  fc.record({ kind: kind('ack'), epoch: small, incarnation: name, received: index, executed: index }, flat),
  fc.record({ kind: kind('heartbeat'), state: fc.constant('running' as const), position: index }, flat),
  fc.record({ kind: kind('configured'), epoch: small }, flat),
  fc.record(
    {
      kind: kind('diverged'),
      index,
      report: fc.constant('x10'),
      evidence: fc.option(bytes, { nil: undefined }),
    },
    flat,
  ),
  fc.record({ kind: kind('yield'), reason: fc.constant('page 7') }, flat),
  fc.record({ kind: kind('confirm'), incarnation: name }, flat),
  fc.record({ kind: kind('confirmed'), incarnation: name, isDead: fc.boolean() }, flat),
)

const channel = fc.integer({ min: 1, max: 6 })
const input: fc.Arbitrary<Input | 'wait'> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('message' as const), channel, message }, flat) },
  {
    weight: 1,
    arbitrary: channel.map((number) => ({ kind: 'closed', channel: number, isRefused: false }) as const),
  },
  {
    weight: 1,
    arbitrary: channel.map(
      (number) => ({ kind: 'opened', channel: number, host: number % 2 === 0 ? undefined : 'a' }) as const,
    ),
  },
  { weight: 1, arbitrary: fc.constant('wait' as const) },
)

/** A copy at b that joins, up to having the whole state if `isInstalled`. */
function joiner(isInstalled: boolean): Subject {
  const subject = new Subject('b')
  subject.wait(50)
  subject.answer(configuration(1, A))
  subject.wait(50)
  subject.connect(1, A)
  if (!isInstalled) return subject
  subject.receive(1, { kind: 'pendingOutput', join: 1, ...output(9) })
  subject.receive(1, START)
  subject.receive(1, CHUNK)
  subject.step({ kind: 'installed', join: 1 })
  return subject
}

function backup(): Subject {
  const subject = joiner(true)
  subject.receive(1, { kind: 'batch', bytes: batch(10, 2) })
  subject.step({ kind: 'executed', frontier: frontier(12), outputs: [] })
  subject.receive(1, { kind: 'configured', epoch: 2 })
  subject.answer(PAIR)
  return subject
}

function starting(): Subject {
  const subject = new Subject('a', { incarnation: 'a2' })
  subject.wait(50)
  subject.answer(PAIR)
  return subject
}

const situations = {
  'a process that starts': starting,
  'a copy that asks to join': () => joiner(false),
  'a copy that has joined': () => joiner(true),
  'a backup': backup,
  'a primary whose copy joins': joining,
  'a primary with a backup': pair,
}

for (const [what, begin] of Object.entries(situations)) {
  test(`${what} fails no assertion, whatever peers say in whatever order`, () => {
    fc.assert(
      fc.property(fc.array(input, { minLength: 1, maxLength: 12 }), (inputs) => {
        const subject = begin()
        for (const one of inputs) {
          if (one === 'wait') subject.wait(100)
          else subject.step(one)
        }
      }),
      { numRuns: 300 },
    )
  })
}
