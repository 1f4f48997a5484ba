/** What a replay has found, in words and as a report. */
import type { Divergence } from '../board/replayer.ts'
import type { NamedDifference } from '../board/witness.ts'
import type { Explanation, ReplayResult } from './replay.ts'

const hex = (value: bigint): string => `0x${BigInt.asUintN(64, value).toString(16)}`

/** A digest as people and reports see it. */
export const digestText = (digest: bigint): string => digest.toString(16).padStart(16, '0')

/** What differs, in one line that goes on behind the recording's name. */
export function describeDivergence(divergence: Divergence, explanation: Explanation | undefined): string {
  const { position, index, equalAt, pc } = divergence
  const side = ({ recorded, replayed }: NamedDifference): string =>
    `recorded ${recorded}, replayed ${replayed}`
  const parts = [`differs at position ${position}, pc ${hex(pc)}, record ${index}`]
  if (explanation === undefined || 'unknown' in explanation) {
    parts.push(`${divergence.what}: ${side(divergence)}`)
  } else {
    const { field, page, pages } = explanation
    if (field !== undefined) parts.push(`${field.path}: ${side(field)}`)
    if (page !== undefined)
      parts.push(`page 0x${page.address.toString(16)}, the first of ${pages}: hash ${side(page)}`)
  }
  parts.push(`arose behind position ${equalAt}, where all was equal`)
  if (explanation !== undefined && 'unknown' in explanation)
    parts.push(`register or page unknown: ${explanation.unknown}`)
  return parts.join('; ')
}

/** What `understudy replay --report` writes. */
export function replayReport(result: ReplayResult): object {
  const { position, divergence, explanation, counts, isComplete } = result
  return {
    ...{ kind: 'understudy-replay-report', version: 1, isEqual: divergence === undefined, isComplete },
    ...{ position: Number(position), digest: digestText(result.digest), counts },
    wallSeconds: result.wallMs / 1000,
    divergence: divergence && {
      ...{ position: Number(divergence.position), index: Number(divergence.index), pc: hex(divergence.pc) },
      ...{ what: divergence.what, recorded: divergence.recorded, replayed: divergence.replayed },
      ...{ equalAt: Number(divergence.equalAt), ...explanationOf(explanation) },
    },
  }
}

/** The register or page for the report, or why it is unknown. */
function explanationOf(explanation: Explanation | undefined): object {
  if (explanation === undefined || 'unknown' in explanation) return { unknown: explanation?.unknown }
  const { field, page, pages } = explanation
  return { field, page: page && { ...page, address: `0x${page.address.toString(16)}` }, pages }
}
