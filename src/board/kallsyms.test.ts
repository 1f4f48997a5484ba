import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { encodeAscii } from '../base/text.ts'
import { type KernelSymbol, readKallsyms } from './kallsyms.ts'

const BASE = 0xffff_ffff_8000_0000n
/** Tokens of several letters, as the kernel's build finds them; all others stand for themselves. */
const LONG_TOKENS = ['__se_sys_', 'kallsyms', 'tT_', '\u001b[2J']
const FIRST_LONG_TOKEN = 0x80

const tokenTexts = Array.from(
  { length: 256 },
  (_, token) =>
    LONG_TOKENS[token - FIRST_LONG_TOKEN] ??
    (token > 0x20 && token < 0x7f ? String.fromCharCode(token) : '?'),
)

/** Bytes that are written one after the other. */
class Sink {
  readonly bytes: number[] = []

  number(value: number | bigint, bytes: number): void {
    for (let i = 0; i < bytes; i++) this.bytes.push(Number((BigInt(value) >> BigInt(8 * i)) & 255n))
  }

  align(): void {
    while (this.bytes.length % 8 !== 0) this.bytes.push(0)
  }
}

function tokensOf(text: string): number[] {
  const tokens: number[] = []
  for (let at = 0; at < text.length; ) {
    const long = LONG_TOKENS.findIndex((each) => text.startsWith(each, at))
    tokens.push(long >= 0 ? FIRST_LONG_TOKEN + long : text.charCodeAt(at))
    at += long >= 0 ? LONG_TOKENS[long]!.length : 1
  }
  return tokens
}

/** What scripts/kallsyms.c writes, behind what else a kernel has. */
function tables(symbols: readonly KernelSymbol[], before = ''): Uint8Array {
  const sink = new Sink()
  sink.bytes.push(...encodeAscii(before), 0)
  sink.align()
  sink.number(symbols.length, 4)
  sink.align()
  const markers: number[] = []
  const start = sink.bytes.length
  for (const [index, { type, name }] of symbols.entries()) {
    if (index % 256 === 0) markers.push(sink.bytes.length - start)
    const tokens = tokensOf(`${type}${name}`)
    if (tokens.length < 0x80) sink.number(tokens.length, 1)
    else sink.bytes.push((tokens.length & 0x7f) | 0x80, tokens.length >> 7)
    sink.bytes.push(...tokens)
  }
  sink.align()
  for (const marker of markers) sink.number(marker, 4)
  sink.align()
  writeTokens(sink)
  for (const { address } of symbols) sink.number(address - BASE, 4)
  sink.align()
  sink.number(BASE, 8)
  return Uint8Array.from(sink.bytes)
}

function writeTokens(sink: Sink): void {
  const begins: number[] = []
  const start = sink.bytes.length
  for (const text of tokenTexts) {
    begins.push(sink.bytes.length - start)
    sink.bytes.push(...encodeAscii(text), 0)
  }
  sink.align()
  for (const begin of begins) sink.number(begin, 2)
  sink.align()
}

const symbolsUpTo = (count: number): KernelSymbol[] =>
  Array.from({ length: count }, (_, index) => ({
    address: BASE + BigInt(index) * 64n,
    type: index % 2 === 0 ? 'T' : 't',
    name: `${index % 3 === 0 ? '__se_sys_' : 'do_'}kallsyms_${index}`,
  }))

describe('the symbols of a kernel', () => {
  it('are found with names and addresses, however many markers there are', () => {
    for (const count of [1, 255, 256, 257, 700]) {
      const symbols = symbolsUpTo(count)
      assert.deepEqual(readKallsyms(tables(symbols)), symbols, `${count} symbols`)
    }
  })

  it('may have names whose length takes two bytes', () => {
    const symbols = [...symbolsUpTo(3), { address: BASE + 4096n, type: 'W', name: 'x'.repeat(300) }]
    assert.deepEqual(readKallsyms(tables(symbols)), symbols)
  })

  it('are found behind text that looks like the table of tokens', () => {
    const digits = [...'0123456789'].join('\0')
    const symbols = symbolsUpTo(300)
    assert.deepEqual(readKallsyms(tables(symbols, `${'a\0'.repeat(60)}${digits}\0`)), symbols)
  })

  it('are none where the tables are cut or changed, whatever is there', () => {
    const whole = tables(symbolsUpTo(300))
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), (place, change) => {
        assert.deepEqual(readKallsyms(whole.subarray(0, place)), [])
        const changed = whole.slice()
        changed[place]! ^= change
        const found = readKallsyms(changed)
        assert.ok(found.length === 0 || found.length === 300)
      }),
    )
  })

  it('are none if a name is longer than a kernel can have, or would control a terminal', () => {
    const named = (name: string): KernelSymbol[] => [...symbolsUpTo(3), { address: BASE, type: 'T', name }]
    assert.equal(readKallsyms(tables(named('__se_sys_'.repeat(56)))).length, 4)
    for (const name of ['__se_sys_'.repeat(57), 'x'.repeat(600), 'a\u001b[2Jb'])
      assert.deepEqual(readKallsyms(tables(named(name))), [], name)
  })

  it('are not searched for long', () => {
    const digits = Uint8Array.from(
      [...'a\0b\0c\x000\x001\x002\x003\x004\x005\x006\x007\x008\x009\0'],
      (one) => one.charCodeAt(0),
    )
    const memory = new Uint8Array(8 << 20).map((_, at) => digits[at % digits.length]!)
    assert.deepEqual(readKallsyms(memory), [])
  })

  it('are none in memory without them', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 5000 }), (bytes) => readKallsyms(bytes).length === 0))
    assert.deepEqual(readKallsyms(new Uint8Array(1 << 20)), [])
  })
})
