/** What a piece of guest assembly becomes, as text: the instructions, where the region can be entered, its function. */
import { assert } from '../../base/assert.ts'
import { assemble } from '../../isa/assemble.ts'
import { disassemble } from '../../isa/disassemble.ts'
import { registerName } from '../../isa/registers.ts'
import { ModuleBuilder } from '../../wasm/module.ts'
import { functionText, type PlaceName } from '../../wasm/testing/module_text.ts'
import { buildCore } from '../core.ts'
import {
  BANK_WRITE,
  CURRENT_REGISTERS,
  HART,
  HART_F,
  HART_X,
  layoutFor,
  MACHINE,
  PAGE_BYTES,
  REGIONS_MAX,
} from '../layout.ts'
import { buildChain } from '../translator/chain.ts'
import { type Flow, findFlow } from '../translator/control_flow.ts'
import { importLinkage } from '../translator/linkage.ts'
import { emitRegion, placeRegion } from '../translator/region.ts'

const RAM_BYTES = 2 << 20
const WASM_PAGE_BYTES = 65536
const NAME = 'region'

export interface TranslatedText {
  /** The instructions of the region as they stand in the page, disassembled. */
  readonly guest: string
  /** Offsets in the page at which it can be entered. */
  readonly entries: readonly number[]
  /** How large its module is. */
  readonly wasmBytes: number
  /** Its function. Places in memory and local variables that hold registers have the registers' names. */
  readonly region: string
}

const layout = layoutFor(1, RAM_BYTES)
const memories = {
  tablePages: Math.ceil(layout.end / WASM_PAGE_BYTES),
  ramPages: RAM_BYTES / WASM_PAGE_BYTES,
}

/** Translates what can be reached from the beginning of `source`, which stands at the beginning of a page. */
export function translatedText(source: string): TranslatedText {
  const { bytes } = assemble(source, 0n)
  assert(bytes.length <= PAGE_BYTES, 'the code is longer than a page')
  const page = new DataView(new ArrayBuffer(PAGE_BYTES))
  new Uint8Array(page.buffer).set(bytes)
  const flow = findFlow(page, 0)
  const module = new ModuleBuilder()
  const limits = (pages: number) => ({ initialPages: pages, maximumPages: pages, shared: true })
  module.importMemory('environment', 'tables', limits(memories.tablePages))
  module.importMemory('environment', 'ram', limits(memories.ramPages))
  const regions = module.importTable('core', 'regions', REGIONS_MAX)
  const linkage = importLinkage(module, buildCore(layout, memories, false).linkage)
  const { body, entries } = emitRegion({ linkage, chain: buildChain(module, regions), layout }, 0, flow)
  placeRegion(module, NAME, body, [])
  const options = { place, parameters: ['hart', 'steps', 'page', 'depth', 'returnTo'] }
  const wasm = module.build()
  const region = functionText(wasm, NAME, options)
  return { guest: guestText(flow, page), entries, wasmBytes: wasm.length, region }
}

function guestText({ blocks }: Flow, page: DataView): string {
  const starts = new Set(blocks.keys())
  const list = [...blocks.values()]
    .flatMap((block) => block.instructions)
    .sort((one, other) => one.offset - other.offset)
  return list
    .map(({ offset, length }) => {
      const word = length === 4 ? page.getUint32(offset, true) : page.getUint16(offset, true)
      const digits = word.toString(16).padStart(length * 2, '0')
      const text = disassemble(word, BigInt(offset))
      const block = starts.has(offset) ? '>' : ' '
      return `${block} ${hex(offset).padStart(6)}  ${digits.padEnd(8)}  ${text}\n`
    })
    .join('')
}

const hex = (value: number): string => `0x${value.toString(16)}`

/** Names by offsets in memory 0, which tell apart what is addressed from a hart, from a bank and from zero. */
const names = new Map<number, PlaceName>()

function nameAll(places: Readonly<Record<string, number>>, named: (name: string) => PlaceName): void {
  for (const [name, offset] of Object.entries(places)) {
    assert(!names.has(offset), `two places at offset ${offset}`)
    names.set(offset, named(name))
  }
}

/** Local variables that are known by what they are loaded from or stored to. */
const LOCALS: Readonly<Record<string, string>> = { dataBank: 'bank' }

nameAll(MACHINE, (name) => ({ name: `machine.${name}` }))
nameAll(HART, (name) => {
  const local = LOCALS[name]
  return { name: `hart.${name}`, ...(local === undefined ? {} : { local }) }
})
for (let number = 0; number < 32; number++) {
  for (const [file, base] of [
    ['x', HART_X],
    ['f', HART_F],
  ] as const) {
    const name = registerName(file, number)
    nameAll({ [name]: CURRENT_REGISTERS + base + number * 8 }, () => ({ name, local: name }))
  }
}
nameAll({ readAddend: 8, writeTag: BANK_WRITE, writeAddend: BANK_WRITE + 8 }, (name) => ({
  name: `bank.${name}`,
}))
nameAll({ pageFlags: layout.pageFlags }, (name) => ({ name }))

const place = (memory: number, offset: number): PlaceName | undefined =>
  memory === 0 ? names.get(offset) : undefined
