/**
 * The GNU tools as the oracle of the tables: objdump must read every halfword and many words as we do, and
 * as must assemble as we do. UNDERSTUDY_ORACLE_WORDS sets the number of words (default 60,000).
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { assemble } from './assemble.ts'
import { compressedInstructions } from './compressed.ts'
import { csrName } from './csr.ts'
import { decode, emptyDecoded } from './decode.ts'
import { disassemble } from './disassemble.ts'
import { instructions } from './instructions.ts'

const prefix = 'riscv64-linux-gnu-'
const missing = spawnSync(`${prefix}objdump`, ['--version']).error !== undefined
const inCI = process.env['CI'] === 'true'
const skip =
  missing && !inCI && `${prefix}objdump is not installed (Debian package binutils-riscv64-linux-gnu)`

let folder = ''
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'understudy-isa-'))
})
after(() => rmSync(folder, { recursive: true }))

function tool(name: string, args: string[]): string {
  const { error, status, stdout, stderr } = spawnSync(prefix + name, args, {
    encoding: 'latin1',
    maxBuffer: 1 << 30,
  })
  if (error) throw error
  assert.equal(status, 0, stderr)
  return stdout
}

const march = '-march=rv64imafdc_zicsr_zifencei_zihintpause_zba_zbb_zbs'

/**
 * Each instruction of `code` as objdump reads it, by address. It reads the extensions from an object file,
 * so the code takes the place of a nop in one.
 */
function objdump(code: Uint8Array): Map<number, string> {
  const path = join(folder, 'code.bin')
  const source = join(folder, 'nop.s')
  const object = join(folder, 'code.o')
  writeFileSync(path, code)
  writeFileSync(source, 'nop\n')
  tool('as', [march, '-o', object, source])
  tool('objcopy', ['--update-section', `.text=${path}`, object])
  const text = tool('objdump', ['-D', '-z', '-j', '.text', '-M', 'no-aliases', object])
  const lines = text.matchAll(/^ *([\da-f]+):\t[\da-f]+ *\t(.*)$/gm)
  return new Map([...lines].map(([, address, line]) => [Number.parseInt(address!, 16), normalized(line!)]))
}

/** Spells what objdump prints as we do, where both mean the same. */
function normalized(line: string): string {
  const text = line
    .replace(/ +#.*$/, '')
    .replace(/\s+/, ' ')
    .replace(/(\w+) <.*>$/, '0x$1')
  if (text === 'c.unimp') return '.2byte 0x0'
  if (text === 'c.addi zero,0') return 'c.nop'
  if (text === 'c.addi16sp sp,0') return '.2byte 0x6101'
  return text.replace(/^(c\.s\w+)64 (\w+)$/, '$1 $2,0x0')
}

const ours = new Set([...instructions, ...compressedInstructions].map(({ name }) => name))

/** Whether objdump's text is an instruction of an extension that we do not have. */
function isForeign(text: string): boolean {
  const name = text.split(' ')[0]!
  return !ours.has(name) && !ours.has(name.replace(/\.(aq|rl|aqrl)$/, ''))
}

test('objdump reads every halfword as we do', { skip }, () => {
  const halfwords = Array.from({ length: 1 << 16 }, (_, halfword) => halfword).filter(
    (half) => (half & 3) !== 3,
  )
  const theirs = objdump(new Uint8Array(Uint16Array.from(halfwords).buffer))
  assert.equal(theirs.size, halfwords.length)
  for (const [index, halfword] of halfwords.entries()) {
    const text = theirs.get(2 * index)
    assert.equal(disassemble(halfword, BigInt(2 * index)), text)
    assert.equal(decode(halfword, emptyDecoded()), !text?.startsWith('.2byte'))
  }
})

/**
 * Pseudo-random words of full length: half of them anything, half an instruction with up to one bit changed.
 */
function* someWords(count: number): Generator<number> {
  let state = 0x9e37_79b9
  const next = () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 0
  }
  for (let made = 0; made < count; ) {
    let word = next() | 3
    if ((next() & 1) !== 0) {
      const { pattern } = instructions[next() % instructions.length]!
      word = (word & ~pattern.mask) | pattern.match
      const bit = next() & 127
      if (bit < 32) word = (word ^ (1 << bit)) | 3
    }
    if ((word & 0x1f) === 0x1f) continue
    made++
    yield word >>> 0
  }
}

/** Where our text may differ from objdump's. */
function agrees(mine: string, theirs: string, word: number): boolean {
  if (mine === theirs) return true
  if (mine.startsWith('.4byte')) return isForeign(theirs)
  const [name = '', operands = ''] = mine.split(' ')
  // Reserved fields of fences, and rounding modes of exact conversions, which it wants to be zero.
  if (theirs.startsWith('.4byte')) {
    if (name === 'fence') return (word & 0xf00f_8f80) !== 0
    if (name === 'fence.i') return (word & 0xffff_8f80) !== 0
    return /^fcvt\.d\.(w|wu|s)$/.test(name) && (word & 0x7000) !== 0
  }
  if (name === 'fence' || /,rm[56]$/.test(operands)) {
    return theirs.replaceAll('unknown', '?') === `${name} ${operands.replace(/\b0\b|\brm[56]\b/g, '?')}`
  }
  if (name.startsWith('csr') && csrName(word >>> 20) === undefined) {
    return theirs.replace(/,\w+,/, ',?,') === mine.replace(/,\w+,/, ',?,')
  }
  return false
}

test('objdump reads instructions and arbitrary words as we do', { skip }, () => {
  const count = Number(process.env['UNDERSTUDY_ORACLE_WORDS'] ?? 60_000)
  const words = [...someWords(count)]
  const theirs = objdump(new Uint8Array(Uint32Array.from(words).buffer))
  assert.equal(theirs.size, words.length)
  const differences = words.flatMap((word, index) => {
    const mine = disassemble(word, BigInt(4 * index))
    const text = theirs.get(4 * index)!
    return agrees(mine, text, word)
      ? []
      : [`${word.toString(16).padStart(8, '0')} ours: ${mine}  theirs: ${text}`]
  })
  assert.deepEqual(differences.slice(0, 20), [])
})

test('as assembles pseudo-instructions as we do', { skip }, () => {
  const lines = `
    start: nop
    mv a0, a1; not a0, a1; neg a0, a1; negw a0, a1; sext.w a0, a1; zext.b a0, a1; zext.w a0, a1
    seqz a0, a1; snez a0, a1; sltz a0, a1; sgtz a0, a1
    beqz a0, start; bnez a0, end; blez a0, start; bgez a0, end; bltz a0, start; bgtz a0, end
    bgt a0, a1, start; ble a0, a1, end; bgtu a0, a1, start; bleu a0, a1, end
    j end; jal end; jr a0; jalr a0; jalr a0, a1, 8; ret
    csrr a0, satp; csrw stvec, a0; csrs sie, a0; csrc sip, a0; csrwi frm, 1; csrsi sstatus, 2; csrci mie, 8
    frcsr a0; fscsr a0; frrm a0; fsrm a0; frflags a0; fsflags a0; rdcycle a0; rdtime a0; rdinstret a0
    fence; fence.tso; sfence.vma; sfence.vma a0; unimp
    fmv.s fa0, fa1; fabs.s fa0, fa1; fneg.s fa0, fa1; fmv.d fa0, fa1; fabs.d fa0, fa1; fneg.d fa0, fa1
    li a0, -5; li a0, 0x12345678; li a0, 0x7ffff800; li a0, -0x80000000
    lui a0, 0x80000; lr.w.aq a0, (a1); sc.d.rl a0, a1, (a2); fcvt.w.s a0, fa0, rtz; pause
    end: ret
  `
  const source = join(folder, 'pseudo.s')
  const object = join(folder, 'pseudo.o')
  const binary = join(folder, 'pseudo.bin')
  writeFileSync(source, `.option norelax\n.option norvc\n${lines}`)
  tool('as', [march, '-o', object, source])
  tool('objcopy', ['-O', 'binary', '-j', '.text', object, binary])
  const theirs = objdump(readFileSync(binary))
  const mine = objdump(assemble(lines, 0n).bytes)
  assert.deepEqual([...mine], [...theirs])
})
