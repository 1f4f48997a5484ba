/** What one look at this computer has found. */
export type Purpose = 'running machines' | 'protected machines' | 'building images'

export interface Finding {
  readonly name: string
  readonly neededFor: Purpose
  readonly ok: boolean
  /** Some can do without it: nothing is missing if it is not there. */
  readonly optional?: true
  /** What is there, or what is wrong. */
  readonly found: string
  /** What to do; empty if all is well. */
  readonly remedy: string
}

/** Lines for people, grouped by what they are needed for. */
export function findingsTable(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map((finding) => finding.name.length))
  const lines: string[] = []
  let purpose: Purpose | undefined
  for (const finding of findings) {
    if (finding.neededFor !== purpose) lines.push(`For ${finding.neededFor}:`)
    purpose = finding.neededFor
    lines.push(`  ${mark(finding)}  ${finding.name.padEnd(width)}  ${finding.found}`)
    if (!finding.ok) lines.push(`           ${' '.repeat(width)}  -> ${finding.remedy}`)
  }
  const missing = findings.filter(isMissing).length
  lines.push(missing === 0 ? 'Nothing is missing.' : `${missing} missing.`)
  return `${lines.join('\n')}\n`
}

/** Whether something that is needed is not there. */
export function isMissing({ ok, optional }: Finding): boolean {
  return !ok && optional !== true
}

function mark(finding: Finding): string {
  if (finding.ok) return 'ok     '
  return isMissing(finding) ? 'MISSING' : 'without'
}
