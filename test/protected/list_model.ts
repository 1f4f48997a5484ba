/** A list of Redis that is only appended to, as the checkers of histories understand it. */

import type { Operation } from '../../sim/checkers/history.ts'
import type { Model } from '../../sim/checkers/model.ts'
import { unreachable } from '../../src/base/assert.ts'

export type ListInput =
  /** RPUSH key value: answers the list's length. */
  | { readonly kind: 'push'; readonly value: string }
  /** LRANGE key -count -1, or all of it: answers that. */
  | { readonly kind: 'read'; readonly count: number | 'all' }

export type ListOutput = number | readonly string[]
export type ListOperation = Operation<ListInput, ListOutput>
export type List = readonly string[]

const SHOWN_MAX = 5

export const listModel: Model<List, ListInput, ListOutput> = {
  initial: [],
  apply(state, input, output) {
    switch (input.kind) {
      case 'push':
        if (output !== undefined && output !== state.length + 1) return undefined
        return [...state, input.value]
      case 'read':
        return output === undefined || isEnd(state, input.count, output) ? state : undefined
      default:
        return unreachable(input)
    }
  },
  isObservation: ({ kind }) => kind === 'read',
  stateKey: (state) => JSON.stringify(state),
  inputKey: (input) => (input.kind === 'push' ? `push ${input.value}` : 'read'),
  describeState: describeList,
  describe(input, output) {
    const asked = input.kind === 'push' ? `push ${input.value}` : `read ${input.count}`
    if (output === undefined) return asked
    return `${asked} -> ${typeof output === 'number' ? output : describeList(output)}`
  },
}

/** Whether `output` is the list's last `count` values, or all of a shorter one. */
function isEnd(list: List, count: number | 'all', output: ListOutput): boolean {
  if (typeof output === 'number') return false
  const length = count === 'all' ? list.length : Math.min(count, list.length)
  return output.length === length && output.every((value, i) => value === list[list.length - length + i])
}

function describeList(list: List): string {
  const left = list.length - SHOWN_MAX
  const shown = list.slice(-SHOWN_MAX).join(' ')
  return left > 0 ? `[(${left} more) ${shown}]` : `[${shown}]`
}
