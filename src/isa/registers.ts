/**
 * Names of registers, rounding modes and fence sets, as assembly writes them (RISC-V ABI specification,
 * chapter 1).
 */
import type { RegisterFile } from './instructions.ts'

const integerNames = [
  ...['zero', 'ra', 'sp', 'gp', 'tp', 't0', 't1', 't2', 's0', 's1'],
  ...['a0', 'a1', 'a2', 'a3', 'a4', 'a5', 'a6', 'a7'],
  ...['s2', 's3', 's4', 's5', 's6', 's7', 's8', 's9', 's10', 's11', 't3', 't4', 't5', 't6'],
]
const floatNames = [
  ...['ft0', 'ft1', 'ft2', 'ft3', 'ft4', 'ft5', 'ft6', 'ft7', 'fs0', 'fs1'],
  ...['fa0', 'fa1', 'fa2', 'fa3', 'fa4', 'fa5', 'fa6', 'fa7'],
  ...['fs2', 'fs3', 'fs4', 'fs5', 'fs6', 'fs7', 'fs8', 'fs9', 'fs10', 'fs11', 'ft8', 'ft9', 'ft10', 'ft11'],
]

const numbers = new Map<string, readonly [RegisterFile, number]>([['fp', ['x', 8]]])
for (let number = 0; number < 32; number++) {
  for (const name of [integerNames[number]!, `x${number}`]) numbers.set(name, ['x', number])
  for (const name of [floatNames[number]!, `f${number}`]) numbers.set(name, ['f', number])
}

/** The ABI name of a register: `a0`, `ft3`. */
export function registerName(file: RegisterFile, number: number): string {
  return (file === 'x' ? integerNames : floatNames)[number]!
}

/**
 * The number of a register of `file` by its ABI name or as `x10`, `f10`; undefined if there is none of that
 * name.
 */
export function registerNumber(file: RegisterFile, name: string): number | undefined {
  const found = numbers.get(name)
  return found?.[0] === file ? found[1] : undefined
}

/** Rounding modes by their encoding; 5 and 6 are reserved and have no name of their own. */
export const roundingModes: readonly string[] = ['rne', 'rtz', 'rdn', 'rup', 'rmm', 'rm5', 'rm6', 'dyn']

const fenceLetters = 'iorw'

/** A predecessor or successor set of FENCE: `rw`; the empty set is `0`. */
export function fenceSetName(set: number): string {
  return [...fenceLetters].filter((_, index) => (set & (8 >> index)) !== 0).join('') || '0'
}

/** The four bits of a set such as `rw` or `0`; undefined if it is none. */
export function fenceSet(name: string): number | undefined {
  if (name === '0') return 0
  if (!/^i?o?r?w?$/.test(name)) return undefined
  return [...name].reduce((set, letter) => set | (8 >> fenceLetters.indexOf(letter)), 0)
}
