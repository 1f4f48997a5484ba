/** Control and status registers: numbers and names (privileged architecture, chapter "CSR Listing"). */
import { assert } from '../base/assert.ts'

/** Number, name; `a..b` stands for a run of registers with consecutive numbers. */
const table = `
001  fflags          002  frm             003  fcsr
c00  cycle           c01  time            c02  instret         c03  hpmcounter3..31

100  sstatus         104  sie             105  stvec           106  scounteren
10a  senvcfg
140  sscratch        141  sepc            142  scause          143  stval
144  sip             14d  stimecmp        180  satp

f11  mvendorid       f12  marchid         f13  mimpid          f14  mhartid
f15  mconfigptr
300  mstatus         301  misa            302  medeleg         303  mideleg
304  mie             305  mtvec           306  mcounteren      30a  menvcfg
320  mcountinhibit   323  mhpmevent3..31
340  mscratch        341  mepc            342  mcause          343  mtval
344  mip
3a0  pmpcfg0..15     3b0  pmpaddr0..63
747  mseccfg
b00  mcycle          b02  minstret        b03  mhpmcounter3..31

7a0  tselect         7a1  tdata1          7a2  tdata2          7a3  tdata3
7a4  tinfo           7b0  dcsr            7b1  dpc
`

const names = new Map<number, string>()
const numbers = new Map<string, number>()
for (const [, number, name, first, last] of table.matchAll(/(\w{3}) +([a-z]+)(?:(\d+)(?:\.\.(\d+))?)?/g)) {
  const start = first === undefined ? 0 : Number(first)
  const end = last === undefined ? start : Number(last)
  for (let index = start; index <= end; index++) {
    addCsr(Number.parseInt(number!, 16) + index - start, first === undefined ? name! : `${name}${index}`)
  }
}

function addCsr(number: number, name: string): void {
  assert(!names.has(number) && !numbers.has(name), `csr ${name} is listed twice`)
  names.set(number, name)
  numbers.set(name, number)
}

/** The name of a csr by its 12-bit number; undefined for one that we do not know. */
export function csrName(number: number): string | undefined {
  return names.get(number)
}

/** The number of a csr. An unknown name is a mistake in our code and fails an assertion. */
export function csrNumber(name: string): number {
  const number = numbers.get(name)
  assert(number !== undefined, `no csr is named ${name}`)
  return number
}

/** The number of a csr, or undefined if none is named so. */
export function findCsr(name: string): number | undefined {
  return numbers.get(name)
}
