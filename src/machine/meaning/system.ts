/** CSR instructions and the privileged ones. */
import { type I32, type I64, i32, i64 } from '../../wasm/expression.ts'
import { call } from '../../wasm/function.ts'
import { OPERATION, requestExit } from '../csr.ts'
import type { Emitter, Meaning } from '../emitter.ts'
import { anyBit, hart32, hart64, machine32, setHart64 } from '../fields.ts'
import { EXIT, MSTATUS, PRIVILEGE } from '../layout.ts'

/** `writes`: csrrs and csrrc with x0 (or 0) only read, which matters for read-only registers. */
function csr(operation: number, operand: (e: Emitter) => I64, writes: (e: Emitter) => I32): Meaning {
  return (e) => e.csr(operation, operand(e), writes(e))
}

const register = (e: Emitter): I64 => e.x1()
const number = (e: Emitter): I64 => i64.extend_i32_u(e.rs1Number())
const always = (): I32 => i32.const(1)
const unlessZero = (e: Emitter): I32 => i32.ne(e.rs1Number(), 0)

/** mret and sret. */
function trapReturn(kind: 'mret' | 'sret'): Meaning {
  return (e) => {
    e.expose()
    const refused = call<'i32'>(e.functions[kind], e.hart)
    e.f.if(refused, () => e.illegal())
    e.leave()
  }
}

/** Illegal in U-mode, and in S-mode if the mstatus bit traps it. */
function requireSupervisor(e: Emitter, trapBit: number): void {
  const privilege = hart32(e.hart, 'privilege')
  const trapped = anyBit(hart64(e.hart, 'mstatus'), trapBit)
  const inSupervisor = i32.eq(privilege, PRIVILEGE.supervisor)
  e.f.ifUnlikely(i32.or(i32.eqz(privilege), i32.and(inSupervisor, trapped)), () => e.illegal())
}

export const systemMeanings: Record<string, Meaning> = {
  csrrw: csr(OPERATION.write, register, always),
  csrrs: csr(OPERATION.set, register, unlessZero),
  csrrc: csr(OPERATION.clear, register, unlessZero),
  csrrwi: csr(OPERATION.write, number, always),
  csrrsi: csr(OPERATION.set, number, unlessZero),
  csrrci: csr(OPERATION.clear, number, unlessZero),
  mret: trapReturn('mret'),
  sret: trapReturn('sret'),
  wfi: (e) => {
    requireSupervisor(e, MSTATUS.tw)
    setHart64(e.f, e.hart, 'pc', e.nextPc())
    requestExit(e.f, EXIT.wait)
    e.leave()
  },
  // A hart that spins lets the next one have its turn, if there is a next one.
  pause: (e) => {
    e.f.if(i32.gt_u(machine32('hartCount'), 1), () => {
      setHart64(e.f, e.hart, 'pc', e.nextPc())
      requestExit(e.f, EXIT.turn)
      e.leave()
    })
  },
  // Watched page tables leave nothing to flush; the privilege rules still hold.
  'sfence.vma': (e) => requireSupervisor(e, MSTATUS.tvm),
}
