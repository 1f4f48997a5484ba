/** The assembler's pseudo-instructions: what each stands for (assembly manual, "pseudoinstructions"). */

/**
 * Name/number of operands, and the instructions it stands for; $1, $2, $3 are its operands. A second
 * instruction of an auipc pair is four bytes further on, hence `. - 4`.
 */
const table = `
nop/0           addi zero, zero, 0
mv/2            addi $1, $2, 0
not/2           xori $1, $2, -1
neg/2           sub $1, zero, $2
negw/2          subw $1, zero, $2
sext.w/2        addiw $1, $2, 0
zext.b/2        andi $1, $2, 255
zext.w/2        add.uw $1, $2, zero
seqz/2          sltiu $1, $2, 1
snez/2          sltu $1, zero, $2
sltz/2          slt $1, $2, zero
sgtz/2          slt $1, zero, $2
beqz/2          beq $1, zero, $2
bnez/2          bne $1, zero, $2
blez/2          bge zero, $1, $2
bgez/2          bge $1, zero, $2
bltz/2          blt $1, zero, $2
bgtz/2          blt zero, $1, $2
bgt/3           blt $2, $1, $3
ble/3           bge $2, $1, $3
bgtu/3          bltu $2, $1, $3
bleu/3          bgeu $2, $1, $3
j/1             jal zero, $1
jal/1           jal ra, $1
jr/1            jalr zero, 0($1)
jalr/1          jalr ra, 0($1)
jalr/3          jalr $1, $3($2)
ret/0           jalr zero, 0(ra)
call/1          auipc ra, %hi($1 - .); jalr ra, %lo($1 - (. - 4))(ra)
tail/1          auipc t1, %hi($1 - .); jalr zero, %lo($1 - (. - 4))(t1)
la/2            auipc $1, %hi($2 - .); addi $1, $1, %lo($2 - (. - 4))
csrr/2          csrrs $1, $2, zero
csrw/2          csrrw zero, $1, $2
csrs/2          csrrs zero, $1, $2
csrc/2          csrrc zero, $1, $2
csrwi/2         csrrwi zero, $1, $2
csrsi/2         csrrsi zero, $1, $2
csrci/2         csrrci zero, $1, $2
frcsr/1         csrrs $1, fcsr, zero
fscsr/1         csrrw zero, fcsr, $1
frrm/1          csrrs $1, frm, zero
fsrm/1          csrrw zero, frm, $1
frflags/1       csrrs $1, fflags, zero
fsflags/1       csrrw zero, fflags, $1
rdcycle/1       csrrs $1, cycle, zero
rdtime/1        csrrs $1, time, zero
rdinstret/1     csrrs $1, instret, zero
fence/0         fence iorw, iorw
fence.tso/0     .word 0x8330000f
sfence.vma/0    sfence.vma zero, zero
sfence.vma/1    sfence.vma $1, zero
unimp/0         .word 0xc0001073
fmv.s/2         fsgnj.s $1, $2, $2
fabs.s/2        fsgnjx.s $1, $2, $2
fneg.s/2        fsgnjn.s $1, $2, $2
fmv.d/2         fsgnj.d $1, $2, $2
fabs.d/2        fsgnjx.d $1, $2, $2
fneg.d/2        fsgnjn.d $1, $2, $2
`

const templates = new Map<string, readonly string[]>()
for (const [, key, meaning] of table.matchAll(/^(\S+) +(.*)$/gm)) templates.set(key!, meaning!.split('; '))

/** The statements that a pseudo-instruction stands for; undefined if this is none. */
export function expandPseudo(name: string, operands: readonly string[]): string[] | undefined {
  const template = templates.get(`${name}/${operands.length}`)
  return template?.map((line) => line.replace(/\$(\d)/g, (_, index: string) => substitute(operands, index)))
}

function substitute(operands: readonly string[], index: string): string {
  const operand = operands[Number(index) - 1]!
  return /^[\w.$]+$/.test(operand) ? operand : `(${operand})`
}

/**
 * The instructions that load a 64-bit constant into a register, as `li` does: the low twelve bits are added
 * last, and what remains, without its trailing zeros, is loaded the same way.
 */
export function loadConstant(register: string, value: bigint): string[] {
  const constant = BigInt.asIntN(64, value)
  const low = BigInt.asIntN(12, constant)
  if (constant === low) return [`addi ${register}, zero, ${low}`]
  if (constant === BigInt.asIntN(32, constant)) {
    const upper = `lui ${register}, ${((constant - low) >> 12n) & 0xfffffn}`
    return low === 0n ? [upper] : [upper, `addiw ${register}, ${register}, ${low}`]
  }
  let rest = BigInt.asIntN(64, constant - low) >> 12n
  let shift = 12
  while ((rest & 1n) === 0n) {
    rest >>= 1n
    shift++
  }
  const lines = [...loadConstant(register, rest), `slli ${register}, ${register}, ${shift}`]
  return low === 0n ? lines : [...lines, `addi ${register}, ${register}, ${low}`]
}
