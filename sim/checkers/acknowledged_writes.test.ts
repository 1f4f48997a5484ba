import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClientOperation } from '../history.ts'
import type { RequestKind } from '../toy_service.ts'
import { AcknowledgedWrites } from './acknowledged_writes.ts'
import { failuresOf, Stream } from './testing/stream.ts'

interface Step {
  readonly kind: RequestKind
  readonly value?: number
  /** What it was answered; undefined: nothing. */
  readonly answer?: number | undefined
  readonly boot?: number
  readonly served?: number
}

/** One client that does one thing after the other, with key 1. */
function operationsOf(steps: readonly Step[]): ClientOperation[] {
  return steps.map(({ kind, value = 0, answer, boot = 1, served }, i) => ({
    client: i,
    connection: 0,
    callMs: i * 10,
    returnMs: answer === undefined ? undefined : i * 10 + 5,
    request: { client: 0, operation: i + 1, kind, key: 1, value, expected: 0 },
    answer:
      answer === undefined
        ? undefined
        : {
            client: 0,
            operation: i + 1,
            status: 'done',
            value: answer,
            served: served ?? i + 1,
            boot,
          },
  }))
}

const put = (value: number): Step => ({ kind: 'put', value, answer: value })
const get = (answer: number): Step => ({ kind: 'get', answer })

function failures(steps: readonly Step[], stepsMax?: number): readonly string[] {
  return failuresOf(new AcknowledgedWrites(stepsMax), new Stream(), operationsOf(steps))
}

test('answers that have an order, with the last write there, are right', () => {
  assert.deepEqual(failures([put(1), get(1), put(2), get(2)]), [])
  assert.deepEqual(failures([get(0), put(1), { kind: 'put', value: 2 }, get(1), get(2)]), [])
  assert.deepEqual(
    failures([{ kind: 'increment', answer: 1 }, get(1), { kind: 'delete', answer: 0 }, get(0)]),
    [],
  )
})

test('a read of what was overwritten is caught, and that the write is gone', () => {
  const [order, lost] = failures([put(1), put(2), get(1)])
  assert.match(order!, /not linearizable: key '1': no order explains/)
  assert.match(lost!, /an acknowledged write is lost: key '1' ends as "?1"?/)
})

test('a search that is given up is a failure', () => {
  assert.match(failures([put(1), put(2), get(2)], 1)[0]!, /unknown: 1 steps were not enough/)
})

test('a service that counts a connection’s requests anew without a boot has lost its memory', () => {
  const [failure] = failures([get(0), get(0), { ...get(0), served: 2 }])
  assert.match(failure!, /has forgotten requests: connection 0 was answered operation 3 at 25 ms as number 2/)
  assert.deepEqual(failures([get(0), get(0), { ...get(0), served: 1, boot: 2 }]), [])
})

test('an earlier boot that answers again is caught', () => {
  const [failure] = failures([get(0), { ...get(0), boot: 2 }, get(0)])
  assert.match(
    failure!,
    /an earlier boot of the service answers again: .* operation 3 .* after .* operation 2/,
  )
})

test('after a forced cold start the answers are not judged, and that is said', () => {
  const stream = new Stream()
  const a = stream.start('a')
  stream.decide('cold start', a)
  stream.boot(a, 0n, true)
  const checker = new AcknowledgedWrites()
  assert.deepEqual(failuresOf(checker, stream, operationsOf([put(1), get(0)])), [])
  assert.deepEqual(checker.excuses, ['answers not judged: a cold start was forced'])
})
