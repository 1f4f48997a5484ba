/**
 * Accesses of a block that go by the same register to places near each other, as of a function that saves registers on
 * its stack: they are looked up once.
 *
 * A group's first access looks the whole range up, which must lie in one page and be aligned; the others use what it has found.
 * That stays right until the block ends: within it, translations change by CSR instructions and atomics, behind which no group
 * goes on, and by accesses that take the slow way. Behind one of those every group counts as not found.
 */
import { instructions } from '../../isa/instructions.ts'
import type { AccessBytes } from '../emitter.ts'
import type { PlacedInstruction } from './block_end.ts'

export interface AccessGroup {
  readonly isStore: boolean
  /** The immediate of its first byte. */
  readonly first: number
  /** Bytes of the largest access, and of the range, a multiple of that. */
  readonly size: AccessBytes
  readonly span: number
  /** Which of the region's variables for groups it uses. */
  readonly variable: number
}

/** What an access to memory has to do with groups. */
export interface GroupUse {
  readonly group: AccessGroup | undefined
  readonly isFirst: boolean
  /** Other groups that have accesses before and behind it. */
  readonly others: readonly AccessGroup[]
}

/** So many groups may be in use at a time. */
export const GROUPS_MAX = 4
/** A longer range would lie on two pages too often. */
const SPAN_MAX = 256

interface Access {
  readonly bytes: AccessBytes
  readonly isStore: boolean
}

const accesses: readonly (Access | undefined)[] = instructions.map(({ name }) => {
  const found = /^f?([ls])([bhwd])u?$/.exec(name)
  if (found === null) return undefined
  return { isStore: found[1] === 's', bytes: (1 << 'bhwd'.indexOf(found[2]!)) as AccessBytes }
})
/** Behind these, translations may be different though no access has missed: no group goes on there. */
const changesTranslations = instructions.map(
  ({ extension, name }) => extension === 'A' || name.startsWith('csr'),
)

/** A group while its accesses are being collected. */
interface Collected {
  readonly isStore: boolean
  first: number
  end: number
  size: AccessBytes
  readonly members: number[]
}

/** For the accesses of a block, by their places in it. */
export function findAccessGroups(list: readonly PlacedInstruction[]): ReadonlyMap<number, GroupUse> {
  const groups = withVariables(collect(list))
  const uses = new Map<number, GroupUse>()
  for (const [index, { op }] of list.entries()) {
    if (accesses[op] === undefined && !changesTranslations[op]!) continue
    const own = groups.find(({ members }) => members.includes(index))
    const others = groups.filter(
      (one) => one !== own && one.members[0]! < index && index < one.members.at(-1)!,
    )
    uses.set(index, {
      group: own?.group,
      isFirst: own?.members[0] === index,
      others: others.map(({ group }) => group),
    })
  }
  return uses
}

function collect(list: readonly PlacedInstruction[]): Collected[] {
  const found: Collected[] = []
  /** Those that may still grow, by their registers: loads at x, stores at 32 + x. */
  const open = new Map<number, Collected>()
  for (const [index, { op, rs1, rd, imm }] of list.entries()) {
    const access = accesses[op]
    if (access !== undefined && rs1 !== 0) {
      const key = access.isStore ? 32 + rs1 : rs1
      const group = open.get(key)
      if (group === undefined || !extend(group, index, imm, access)) {
        const { bytes, isStore } = access
        const begun = { isStore, first: imm, end: imm + bytes, size: bytes, members: [index] }
        found.push(begun)
        open.set(key, begun)
      }
    }
    if (changesTranslations[op]!) open.clear()
    if (instructions[op]!.registers.rd === 'x') for (const key of [rd, 32 + rd]) open.delete(key)
  }
  return found.filter(({ members }) => members.length > 1)
}

/** Adds an access to a group; false if it would not fit. */
function extend(group: Collected, index: number, imm: number, { bytes }: Access): boolean {
  const first = Math.min(group.first, imm)
  const size = Math.max(group.size, bytes) as AccessBytes
  const end = Math.max(group.end, imm + bytes)
  // Then each of them is aligned if the first byte is, to the largest size.
  const isAligned = (group.first - first) % group.size === 0 && (imm - first) % bytes === 0
  if (!isAligned || end - first > SPAN_MAX) return false
  group.first = first
  group.size = size
  group.end = end
  group.members.push(index)
  return true
}

interface Numbered {
  readonly group: AccessGroup
  readonly members: readonly number[]
}

/** Gives groups their variables, as far as there are enough. */
function withVariables(collected: readonly Collected[]): Numbered[] {
  /** The last access of the group that has each variable. */
  const lastUses = Array.from({ length: GROUPS_MAX }, () => -1)
  const numbered: Numbered[] = []
  for (const { isStore, first, end, size, members } of collected) {
    const variable = lastUses.findIndex((last) => last < members[0]!)
    if (variable < 0) continue
    lastUses[variable] = members.at(-1)!
    const span = Math.ceil((end - first) / size) * size
    numbered.push({ group: { isStore, first, size, span, variable }, members })
  }
  return numbered
}
