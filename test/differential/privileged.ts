/** Generators for what depends on privilege: translated accesses, traps, returns from traps, and fences. */
import { assert } from '../../src/base/assert.ts'
import { csrNumber } from '../../src/isa/csr.ts'
import type { Body } from './body.ts'
import { accessCsr } from './csr.ts'
import { compute, encodeAnything } from './integer.ts'
import { MSTATUS } from './layout.ts'
import { access, accessExactly, accessMemory } from './memory.ts'
import { pagedAddress, pagedFunction } from './paging.ts'

/** Appends something that S and U mode may or may not do, or that M-mode does in their name. */
export function usePrivilege(body: Body): void {
  const isMachine = body.level === 'machine'
  const reach = isMachine ? accessAs : accessPaged
  // In M-mode a CSR access might change satp, and QEMU 7.2 reports page tables where no memory is as page faults.
  const rarely = [isMachine ? compute : accessCsr, trap, returnFromTrap, fence, compute, callPaged]
  body.random.pick([...rarely, reach, reach, reach, reach, reach, reach])(body)
}

/** Appends accesses around a virtual address. */
export function accessPaged(body: Body): void {
  const { address, use } = pagedAddress(body)
  body.keeping((base) => {
    body.load(base, address)
    for (let count = body.random.between(1, 4); count > 0; count--) {
      if (use === 'around') access(body, base)
      else accessExactly(body, base, use === 'aligned')
    }
  })
}

/** M-mode accesses memory with the rights of a lower mode (MPRV). A trap among them sets MPP to U. */
function accessAs(body: Body): void {
  const { random } = body
  const mode = random.pick([0n, 1n, 1n, 3n])
  const bits = MSTATUS.fs | MSTATUS.mprv | (mode << 11n)
  body.keeping((status) => {
    body.load(status, bits | random.pick([0n, MSTATUS.sum]) | random.pick([0n, MSTATUS.mxr]))
    body.emit('csrrw', { rd: 0, imm: csrNumber('mstatus'), rs1: status })
    if (mode === 3n) accessMemory(body)
    else accessPaged(body)
    body.load(status, MSTATUS.mprv)
    body.emit('csrrc', { rd: 0, imm: csrNumber('mstatus'), rs1: status })
  })
}

function trap(body: Body): void {
  const { random } = body
  const kind = random.below(4)
  if (kind === 0) body.emit('ecall', {})
  else if (kind === 1) body.emit(random.pick(['ebreak', 'c.ebreak']), {})
  else encodeAnything(body)
}

/** mret and sret to the instruction behind, where they are allowed, mostly into the same mode; wfi where it traps. */
function returnFromTrap(body: Body): void {
  const { random, level } = body
  if (level === 'user') {
    body.emit(random.pick(['mret', 'sret', 'wfi']), {})
    return
  }
  if (level === 'supervisor' && random.chance(0.3)) {
    body.emit('mret', {})
    return
  }
  const [epc, status, previous, name] =
    level === 'machine'
      ? (['mepc', 'mstatus', 3n << 11n, 'mret'] as const)
      : (['sepc', 'sstatus', MSTATUS.spp, 'sret'] as const)
  body.keeping((register) => {
    if (random.chance(0.2)) prepareDescent(body, register)
    else {
      body.load(register, previous)
      body.emit('csrrs', { rd: 0, imm: csrNumber(status), rs1: register })
    }
    const from = body.here
    body.emit('auipc', { rd: register, imm: 0 })
    body.emit('addi', { rd: register, rs1: register, imm: 16 })
    body.emit('csrrw', { rd: 0, imm: csrNumber(epc), rs1: register })
    body.emit(name, {})
    assert(body.here === from + 16, 'the return comes out behind itself')
  })
}

/**
 * Lets the return lead to a lower mode: what follows in the block then traps, or ends it at once.
 * MPRV is off, since an mret to a lower mode does not switch it off on QEMU 7.2.
 */
function prepareDescent(body: Body, register: number): void {
  const { random, level } = body
  if (level === 'machine') {
    body.load(register, MSTATUS.fs | (random.pick([0n, 1n, 1n]) << 11n))
    body.emit('csrrw', { rd: 0, imm: csrNumber('mstatus'), rs1: register })
  } else {
    body.load(register, MSTATUS.spp)
    body.emit('csrrc', { rd: 0, imm: csrNumber('sstatus'), rs1: register })
  }
}

function fence(body: Body): void {
  const { random } = body
  const name = random.pick(['sfence.vma', 'sfence.vma', 'fence', 'fence.i', 'pause'])
  if (name === 'sfence.vma') body.emit(name, { rs1: body.source(), rs2: body.source() })
  else body.emit(name, name === 'fence' ? { imm: random.below(256) } : {})
}

/** Calls a return instruction in some page; a fault of the fetch ends the block. */
function callPaged(body: Body): void {
  if (!body.isFree(1) || body.level === 'machine') {
    compute(body)
    return
  }
  body.keeping((target) => {
    body.load(target, pagedFunction(body))
    body.emit('jalr', { rd: 1, rs1: target, imm: 0 })
  })
}
