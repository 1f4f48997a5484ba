/** The meaning of every instruction of the table, by name. */
import { assert } from '../../base/assert.ts'
import { instructions } from '../../isa/instructions.ts'
import type { Meaning } from '../emitter.ts'
import { bitMeanings } from './bits.ts'
import { floatMeanings } from './float.ts'
import { integerMeanings, multiplyMeanings } from './integer.ts'
import { memoryMeanings } from './memory.ts'
import { systemMeanings } from './system.ts'

const byName: Record<string, Meaning> = {
  ...integerMeanings,
  ...multiplyMeanings,
  ...bitMeanings,
  ...memoryMeanings,
  ...floatMeanings,
  ...systemMeanings,
}

/** Meanings by op. */
export const meanings: readonly Meaning[] = instructions.map(({ name }) => {
  const meaning = byName[name]
  assert(meaning !== undefined, `instruction ${name} has no meaning`)
  return meaning
})

for (const name of Object.keys(byName)) {
  assert(
    instructions.some((instruction) => instruction.name === name),
    `meaning of ${name}, which is not an instruction`,
  )
}
