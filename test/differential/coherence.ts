/** Generators for changes of what machines keep copies of: instructions (fence.i) and page tables (sfence.vma). */
import { csrNumber } from '../../src/isa/csr.ts'
import { encode } from '../../src/isa/encode.ts'
import type { Body } from './body.ts'
import { compute } from './integer.ts'
import { MSTATUS } from './layout.ts'
import { access } from './memory.ts'
import { pageChange } from './paging.ts'

/**
 * Appends a loop in which every turn replaces an instruction by another one or back, and executes it after a
 * fence.i. Since the change stays, the block's next execution begins with what this one leaves.
 */
export function changeCode(body: Body): void {
  const { random } = body
  body.keeping((counter) => {
    const [one, other] = [replaceable(body), replaceable(body)]
    body.emit('addi', { rd: counter, rs1: 0, imm: random.between(1, 4) })
    const top = body.here
    body.keeping((target) => {
      body.emit('auipc', { rd: target, imm: 0 })
      const pointing = body.here
      body.emit('addi', { rd: target, rs1: target, imm: 0 })
      toggle(body, target, one ^ other)
      body.emit('fence.i', {})
      for (let count = random.below(3); count > 0; count--) compute(body)
      body.patch(pointing, 'addi', { rd: target, rs1: target, imm: body.here - top })
    })
    body.append(one, 4)
    body.emit('addi', { rd: counter, rs1: counter, imm: -1 })
    body.emit('bne', { rs1: counter, rs2: 0, imm: top - body.here })
  })
}

/** A computation of 32 bits, rarely a word that traps. */
function replaceable(body: Body): number {
  const { random } = body
  if (random.chance(0.1)) return ILLEGAL
  const name = random.pick(['add', 'sub', 'xor', 'mul', 'sll', 'sh1add'])
  return encode(name, { rd: body.variable(), rs1: body.source(), rs2: body.source() })
}

/** funct3 of a load that RV64 does not have. */
const ILLEGAL = 0x0000_7003

/** Appends a change of the word at the address in `target`. */
function toggle(body: Body, target: number, difference: number): void {
  body.keeping((word) => {
    body.keeping((mask) => {
      body.emit('lw', { rd: word, rs1: target, imm: 0 })
      body.load(mask, BigInt(difference | 0))
      body.emit('xor', { rd: word, rs1: word, rs2: mask })
      body.emit('sw', { rs1: target, rs2: word, imm: 0 })
    })
  })
}

/**
 * Appends accesses to a small page, a change of its entry, the fence that is due, accesses, and all of this back. The
 * entry is written by S-mode through its mapping of RAM, or by M-mode, which then accesses memory in the name of S.
 */
export function changeMapping(body: Body): void {
  const { random } = body
  const { entryAddress, address, entry } = pageChange(random)
  body.keeping((pointer) => {
    body.load(pointer, entryAddress)
    body.keeping((base) => {
      body.load(base, address + BigInt(random.between(-24, 24)))
      body.keeping((old) => {
        body.emit('ld', { rd: old, rs1: pointer, imm: 0 })
        accessTranslated(body, base)
        body.keeping((changed) => {
          body.load(changed, entry)
          body.emit('sd', { rs1: pointer, rs2: changed, imm: 0 })
        })
        fenceFor(body, base)
        accessTranslated(body, base)
        body.emit('sd', { rs1: pointer, rs2: old, imm: 0 })
        fenceFor(body, base)
        accessTranslated(body, base)
      })
    })
  })
}

/** A fence for everything, or for the pages around the address in `base`: what is asked for may be less. */
function fenceFor(body: Body, base: number): void {
  if (body.random.chance(0.6)) {
    body.emit('sfence.vma', {})
    return
  }
  body.keeping((page) => {
    for (const imm of [-64, 64]) {
      body.emit('addi', { rd: page, rs1: base, imm })
      body.emit('sfence.vma', { rs1: page })
    }
  })
}

function accessTranslated(body: Body, base: number): void {
  const count = body.random.between(1, 2)
  if (body.level === 'supervisor') {
    for (let turn = 0; turn < count; turn++) access(body, base)
    return
  }
  const mstatus = csrNumber('mstatus')
  body.keeping((status) => {
    body.load(status, MSTATUS.fs | MSTATUS.mprv | (1n << 11n))
    body.emit('csrrw', { rd: 0, imm: mstatus, rs1: status })
    for (let turn = 0; turn < count; turn++) access(body, base)
    body.load(status, MSTATUS.mprv)
    body.emit('csrrc', { rd: 0, imm: mstatus, rs1: status })
  })
}
