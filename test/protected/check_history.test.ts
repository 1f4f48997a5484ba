import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { HistoryRecorder } from '../../sim/checkers/history.ts'
import { checkHistory } from './check_history.ts'
import type { ListInput, ListOperation, ListOutput } from './list_model.ts'

type Step = readonly [client: number, input: ListInput, output?: ListOutput]

const push = (value: string): ListInput => ({ kind: 'push', value })
const read = (count: number | 'all' = 'all'): ListInput => ({ kind: 'read', count })

/** Operations one after the other; one without an output stays open. */
function sequence(...steps: readonly Step[]): ListOperation[] {
  const recorder = new HistoryRecorder<ListInput, ListOutput>()
  for (const [client, input, output] of steps) {
    const call = recorder.call(client, 'k', input)
    if (output !== undefined) recorder.answer(call, output)
  }
  return recorder.history()
}

function faultsOf(...steps: readonly Step[]): string {
  return checkHistory(sequence(...steps)).faults.join('\n')
}

test('a history without trouble has no faults', () => {
  const report = checkHistory(
    sequence(
      ...([
        [1, push('a'), 1],
        [2, push('b'), 2],
        [1, read(1), ['b']],
      ] as const),
      ...([
        [1, read(9), ['a', 'b']],
        [2, read(), ['a', 'b']],
      ] as const),
    ),
  )
  assert.deepEqual(report, { operations: 5, keys: 1, faults: [] })
})

test('a lost write is found', () => {
  const faults = faultsOf([1, push('a'), 1], [2, push('b'), 2], [1, read(), ['a']])
  assert.match(faults, /lost write: b is missing at the end/)
  assert.match(faults, /not linearizable/)
})

test('a write that was lost and covered by another is found', () => {
  const faults = faultsOf([1, push('a'), 1], [2, push('b'), 1], [1, read(), ['b']])
  assert.match(faults, /lost write: a/)
  assert.match(faults, /not linearizable/)
})

test('a doubled write is found', () => {
  const faults = faultsOf([1, push('a'), 1], [1, read(), ['a', 'a']])
  assert.match(faults, /doubled write: a stands at 0 and at 1/)
  assert.match(faults, /not linearizable/)
})

test('a write that was never answered may be there once, and not twice', () => {
  const once = sequence([1, push('a')], [2, push('b'), 2], [2, read(), ['a', 'b']])
  assert.deepEqual(checkHistory(once, { openMax: 1 }).faults, [])
  const never = sequence([1, push('a')], [2, push('b'), 1], [2, read(), ['b']])
  assert.deepEqual(checkHistory(never, { openMax: 1 }).faults, [])
  const twice = sequence([1, push('a')], [2, push('b'), 2], [2, read(), ['a', 'b', 'a']])
  assert.match(checkHistory(twice, { openMax: 1 }).faults.join(), /doubled write: a/)
})

test('an operation that was never answered does not pass unless it was announced', () => {
  assert.match(
    faultsOf([1, push('a'), 1], [2, read()], [1, read(), ['a']]),
    /1 operations were never answered/,
  )
})

test('a stale read is found', () => {
  const faults = faultsOf(
    ...([
      [1, push('a'), 1],
      [1, push('b'), 2],
      [2, read(), ['a']],
    ] as const),
    ...([[1, read(), ['a', 'b']]] as const),
  )
  assert.match(faults, /not linearizable: key 'k'/)
  assert.doesNotMatch(faults, /lost|doubled/)
})

test('a stale read of the end is found', () => {
  const faults = faultsOf(
    ...([
      [1, push('a'), 1],
      [1, push('b'), 2],
      [2, read(1), ['a']],
    ] as const),
    ...([[1, read(), ['a', 'b']]] as const),
  )
  assert.match(faults, /not linearizable/)
})

test('reordered appends are found', () => {
  const faults = faultsOf([1, push('a'), 1], [2, push('b'), 2], [1, read(), ['b', 'a']])
  assert.match(faults, /moved write: a stands at 1/)
  assert.match(faults, /not linearizable/)
})

test('a value that nobody wrote is found', () => {
  const faults = faultsOf([1, push('a'), 1], [1, read(), ['a', 'z']])
  assert.match(faults, /strange value: nobody has written z/)
})

test('a key that is not read at the end does not pass', () => {
  assert.match(faultsOf([1, push('a'), 1]), /no read of all of it/)
  assert.match(faultsOf([1, read(), []], [1, push('a'), 1]), /no read of all of it/)
})

/** A list that answers at once, between a call and an answer that other clients' come in between. */
function concurrentHistory(choices: readonly (readonly [client: number, kind: number])[]): ListOperation[] {
  const recorder = new HistoryRecorder<ListInput, ListOutput>()
  const list: string[] = []
  const pending = new Map<number, { readonly call: number; readonly input: ListInput; output?: ListOutput }>()
  const act = ({ input }: { readonly input: ListInput }): ListOutput => {
    if (input.kind === 'push') return list.push(input.value)
    return input.count === 'all' ? [...list] : list.slice(-input.count)
  }
  choices.forEach(([client, kind], i) => {
    const waiting = pending.get(client)
    if (waiting === undefined) {
      const input = [push(`v${i}`), read(), read(2)][kind]!
      pending.set(client, { call: recorder.call(client, 'k', input), input })
    } else if (waiting.output === undefined && kind > 0) {
      waiting.output = act(waiting)
    } else {
      recorder.answer(waiting.call, waiting.output ?? act(waiting))
      pending.delete(client)
    }
  })
  for (const waiting of pending.values()) recorder.answer(waiting.call, waiting.output ?? act(waiting))
  recorder.answer(recorder.call(0, 'k', read()), [...list])
  return recorder.history()
}

const choices = fc.array(fc.tuple(fc.nat(3), fc.nat(2)), { minLength: 4, maxLength: 60 })

test('whatever a list answers to concurrent clients passes', () => {
  fc.assert(
    fc.property(choices, (chosen) => {
      assert.deepEqual(checkHistory(concurrentHistory(chosen)).faults, [])
    }),
  )
})

test('a history with one answered push taken out of its final read never passes', () => {
  fc.assert(
    fc.property(choices, fc.nat(), (chosen, which) => {
      const history = concurrentHistory(chosen)
      const last = history.at(-1)!
      const final = last.output as readonly string[]
      fc.pre(final.length > 0)
      const output = final.filter((_, i) => i !== which % final.length)
      const { faults } = checkHistory([...history.slice(0, -1), { ...last, output }])
      assert.match(faults.join('\n'), /lost write[\s\S]*not linearizable/)
    }),
  )
})
