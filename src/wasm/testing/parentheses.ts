/** Lists in parentheses, on one line where they fit, else with one line for each part. */

const WIDTH = 110

/** A list, or text that stands on a line of its own. */
export type Part = { readonly text: string } | List

interface List {
  /** What follows the opening parenthesis, up to the first part. */
  readonly head: string
  readonly parts: readonly Part[]
}

/** Texts at the beginning belong to the head. */
export function list(head: string, ...parts: readonly (Part | string)[]): Part {
  const words = parts.filter((part) => typeof part === 'string')
  return { head: [head, ...words].join(' '), parts: parts.filter((part) => typeof part !== 'string') }
}

export function print(part: Part): string {
  const lines: string[] = []
  printAt(part, '', lines, '')
  return `${lines.join('\n')}\n`
}

/** Bodies with several instructions are never on one line. */
const BODIES = /^(?:block|loop|then|else|func|module)\b/

function flat(part: Part): string | undefined {
  if ('text' in part) return part.text
  if (BODIES.test(part.head) && part.parts.length > 1) return undefined
  const parts = part.parts.map(flat)
  return parts.includes(undefined) ? undefined : `(${[part.head, ...parts].join(' ')})`
}

function printAt(part: Part, indent: string, lines: string[], closing: string): void {
  const line = flat(part)
  if (line !== undefined && indent.length + line.length + closing.length <= WIDTH) {
    lines.push(indent + line + closing)
    return
  }
  if ('text' in part) {
    lines.push(indent + part.text + closing)
    return
  }
  const isLeaf = part.parts.length === 0
  lines.push(`${indent}(${part.head}${isLeaf ? `)${closing}` : ''}`)
  for (const [index, inner] of part.parts.entries()) {
    const isLast = index === part.parts.length - 1
    printAt(inner, `${indent}  `, lines, isLast ? `)${closing}` : '')
  }
}
