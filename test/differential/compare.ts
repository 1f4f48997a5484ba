/** Compares the traces of one program, and explains the first difference of a block in words. */
import { disassemble } from '../../src/isa/disassemble.ts'
import { registerName } from '../../src/isa/registers.ts'
import { DATA, DUMPED, HOT_BYTES, RAM, SLOT, SLOT_BYTES, TRAP_BYTES, TRAPS_RECORDED } from './layout.ts'
import type { Execution, Program } from './program.ts'

/** A field of a slot; `mask` has the bits that are compared. */
interface Field {
  readonly name: string
  readonly offset: number
  readonly mask: bigint
}

export interface Difference {
  readonly execution: number
  readonly fields: readonly { readonly name: string; readonly left: bigint; readonly right: bigint }[]
}

const ALL = 0xffff_ffff_ffff_ffffn
const BREAKPOINT = 3n
/** An instruction that traps may make the floating-point state dirty or not; in blocks without traps both agree. */
const FS_AND_SD = (3n << 13n) | (1n << 63n)
const trapFields = ['cause', 'epc', 'tval', 'status', 'vector'] as const

/** Software can set and clear these; the others follow the board's timers. */
const INTERRUPTS = 0x222n

const csrMasks: Readonly<Record<string, bigint>> = {
  mip: INTERRUPTS,
}

const fields: readonly Field[] = [
  { name: 'traps', offset: SLOT.x, mask: ALL },
  ...registerFields('x', SLOT.x).slice(1),
  ...registerFields('f', SLOT.f),
  ...DUMPED.map((name, index) => ({ name, offset: SLOT.csr + 8 * index, mask: csrMasks[name] ?? ALL })),
  ...Array.from({ length: (SLOT_BYTES - SLOT.data) / 8 }, (_, index) => ({
    name: `[0x${hotAddress(index).toString(16)}]`,
    offset: SLOT.data + 8 * index,
    mask: ALL,
  })),
]

function registerFields(file: 'x' | 'f', start: number): Field[] {
  return Array.from({ length: 32 }, (_, number) => ({
    name: `${file}${number} (${registerName(file, number)})`,
    offset: start + 8 * number,
    mask: ALL,
  }))
}

/** Address of the dword at this place of a slot's data. */
function hotAddress(index: number): number {
  const perPage = (2 * HOT_BYTES) / 8
  const within = 8 * (index % perPage)
  const offset = within < HOT_BYTES ? within : within + 0x1000 - 2 * HOT_BYTES
  return RAM + DATA + 0x1000 * Math.floor(index / perPage) + offset
}

/** The executions whose slots differ in what both machines must agree on. */
export function* differences(program: Program, left: Uint8Array, right: Uint8Array): Generator<Difference> {
  for (let execution = 0; execution < program.executions.length; execution++) {
    const start = execution * SLOT_BYTES
    const slots = [left, right].map((trace) => trace.subarray(start, start + SLOT_BYTES)) as [
      Uint8Array,
      Uint8Array,
    ]
    if (Buffer.compare(slots[0], slots[1]) === 0) continue
    const found = compareSlots(slots[0], slots[1])
    if (found.length > 0) yield { execution, fields: found }
  }
}

function compareSlots(left: Uint8Array, right: Uint8Array): Difference['fields'] {
  const [a, b] = [left, right].map((slot) => new DataView(slot.buffer, slot.byteOffset)) as [
    DataView,
    DataView,
  ]
  const traps = Number(a.getBigUint64(0, true))
  const recorded = Math.min(traps, TRAPS_RECORDED)
  return [...fields, ...trapRecordFields(a, recorded)].flatMap(({ name, offset, mask }) => {
    const [x, y] = [a.getBigUint64(offset, true), b.getBigUint64(offset, true)]
    const fsMask = traps > 0 && name.endsWith('status') ? ~FS_AND_SD : ALL
    return (x & mask & fsMask) === (y & mask & fsMask) ? [] : [{ name, left: x, right: y }]
  })
}

function trapRecordFields(slot: DataView, count: number): Field[] {
  return Array.from({ length: count }, (_, trap) => {
    const start = SLOT.traps + trap * TRAP_BYTES
    // After an ebreak xtval may be zero (QEMU) or the pc (ours).
    const tvalMask = slot.getBigUint64(start, true) === BREAKPOINT ? 0n : ALL
    return trapFields.map((name, index) => ({
      name: `trap ${trap} ${name}`,
      offset: start + 8 * index,
      mask: name === 'tval' ? tvalMask : ALL,
    }))
  }).flat()
}

const hex = (value: bigint): string => `0x${BigInt.asUintN(64, value).toString(16)}`

/** A report of a difference: how to repeat it, the block, what went in, and what came out on both sides. */
export function explain(program: Program, difference: Difference, names: readonly [string, string]): string {
  const execution = program.executions[difference.execution]!
  const { block } = execution
  const code = disassembleBlock(program, execution)
  const inputs = inputsOf(execution, code.join('\n'))
  const rows = difference.fields
    .slice(0, 24)
    .map(({ name, left, right }) => `  ${name.padEnd(18)} ${hex(left).padEnd(20)} ${hex(right)}`)
  const more = difference.fields.length - rows.length
  return [
    `difference in program ${program.number} of seed ${program.seed}, execution ${difference.execution}: ` +
      `a block of kind ${block.kind} in ${block.level} mode`,
    ...code.map((line) => `  ${line}`),
    `inputs (fcsr ${hex(BigInt(execution.fcsr))}):`,
    ...inputs.map((line) => `  ${line}`),
    `  ${''.padEnd(18)} ${names[0].padEnd(20)} ${names[1]}`,
    ...rows,
    ...(more > 0 ? [`  and ${more} more`] : []),
  ].join('\n')
}

function disassembleBlock({ image }: Program, { block }: Execution): string[] {
  const view = new DataView(image.buffer, image.byteOffset)
  const lines: string[] = []
  for (let address = block.start; address <= block.exit; ) {
    const word = view.getUint32(address - RAM, true)
    lines.push(`${address.toString(16)}  ${disassemble(word, BigInt(address))}`)
    address += (word & 3) === 3 ? 4 : 2
  }
  return lines
}

/** The initial values of the registers that the block's text mentions, and the environment where it is not plain. */
function inputsOf({ x, f, environment }: Execution, text: string): string[] {
  const mentioned = new Set(text.match(/\b[a-z]+\d*\b/g))
  const files = [
    ['x', x],
    ['f', f],
  ] as const
  const registers = files.flatMap(([file, values]) =>
    [...values].flatMap((value, number) => {
      const name = registerName(file, number)
      return number + (file === 'f' ? 1 : 0) > 0 && mentioned.has(name) ? [`${name}=${hex(value)}`] : []
    }),
  )
  const settings = Object.entries(environment).flatMap(([name, value]) =>
    value === 0n ? [] : [`${name}=${hex(value)}`],
  )
  return [inLines(registers), inLines(settings)].flat()
}

/** Joins words to lines of at most about 100 characters. */
function inLines(words: readonly string[]): string[] {
  const lines: string[] = []
  for (const word of words) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + word.length < 100) lines[lines.length - 1] = `${last} ${word}`
    else lines.push(word)
  }
  return lines
}
