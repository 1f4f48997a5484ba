/**
 * The instruction set: RV64GC with Zba, Zbb, Zbs, Zihintpause and the privileged instructions, as one table.
 *
 * A line is: name, bit pattern (see pattern.ts; laid out as in the manual, funct7 | rs2 | rs1 | funct3 | rd
 * | opcode), extension, operands in assembly order. The operands say what the register numbers name:
 *
 *     rd rs1 rs2          integer registers            fd fs1 fs2 fs3   floating-point registers
 *     imm  shamt  zimm    numbers, as they are         hi               upper 20 bits of a U-immediate
 *     target              pc + imm                     csr              a control and status register
 *     pred  succ          sets of i, o, r, w
 *     rm                  rounding mode; left out, it is dyn
 *     exact               rounding mode of an exact conversion; left out, it is rne
 *
 * No two lines may match the same word; the one exception is in `overlaps`. A line's number is its op.
 */
import { assert } from '../base/assert.ts'
import { assertDisjoint, type FieldName, type Pattern, parsePattern } from './pattern.ts'

const table = `
# RV64I: integer register-immediate, register-register, control transfer, loads and stores
lui         imm[31:12]                         rd           0110111 | I           | rd, hi
auipc       imm[31:12]                         rd           0010111 | I           | rd, hi
jal         imm[20|10:1|11|19:12]              rd           1101111 | I           | rd, target
jalr        imm[11:0]            rs1     000   rd           1100111 | I           | rd, imm(rs1)
beq         imm[12|10:5] rs2     rs1     000   imm[4:1|11]  1100011 | I           | rs1, rs2, target
bne         imm[12|10:5] rs2     rs1     001   imm[4:1|11]  1100011 | I           | rs1, rs2, target
blt         imm[12|10:5] rs2     rs1     100   imm[4:1|11]  1100011 | I           | rs1, rs2, target
bge         imm[12|10:5] rs2     rs1     101   imm[4:1|11]  1100011 | I           | rs1, rs2, target
bltu        imm[12|10:5] rs2     rs1     110   imm[4:1|11]  1100011 | I           | rs1, rs2, target
bgeu        imm[12|10:5] rs2     rs1     111   imm[4:1|11]  1100011 | I           | rs1, rs2, target
lb          imm[11:0]            rs1     000   rd           0000011 | I           | rd, imm(rs1)
lh          imm[11:0]            rs1     001   rd           0000011 | I           | rd, imm(rs1)
lw          imm[11:0]            rs1     010   rd           0000011 | I           | rd, imm(rs1)
ld          imm[11:0]            rs1     011   rd           0000011 | I           | rd, imm(rs1)
lbu         imm[11:0]            rs1     100   rd           0000011 | I           | rd, imm(rs1)
lhu         imm[11:0]            rs1     101   rd           0000011 | I           | rd, imm(rs1)
lwu         imm[11:0]            rs1     110   rd           0000011 | I           | rd, imm(rs1)
sb          imm[11:5]    rs2     rs1     000   imm[4:0]     0100011 | I           | rs2, imm(rs1)
sh          imm[11:5]    rs2     rs1     001   imm[4:0]     0100011 | I           | rs2, imm(rs1)
sw          imm[11:5]    rs2     rs1     010   imm[4:0]     0100011 | I           | rs2, imm(rs1)
sd          imm[11:5]    rs2     rs1     011   imm[4:0]     0100011 | I           | rs2, imm(rs1)
addi        imm[11:0]            rs1     000   rd           0010011 | I           | rd, rs1, imm
slti        imm[11:0]            rs1     010   rd           0010011 | I           | rd, rs1, imm
sltiu       imm[11:0]            rs1     011   rd           0010011 | I           | rd, rs1, imm
xori        imm[11:0]            rs1     100   rd           0010011 | I           | rd, rs1, imm
ori         imm[11:0]            rs1     110   rd           0010011 | I           | rd, rs1, imm
andi        imm[11:0]            rs1     111   rd           0010011 | I           | rd, rs1, imm
slli        000000       shamt6  rs1     001   rd           0010011 | I           | rd, rs1, shamt
srli        000000       shamt6  rs1     101   rd           0010011 | I           | rd, rs1, shamt
srai        010000       shamt6  rs1     101   rd           0010011 | I           | rd, rs1, shamt
add         0000000      rs2     rs1     000   rd           0110011 | I           | rd, rs1, rs2
sub         0100000      rs2     rs1     000   rd           0110011 | I           | rd, rs1, rs2
sll         0000000      rs2     rs1     001   rd           0110011 | I           | rd, rs1, rs2
slt         0000000      rs2     rs1     010   rd           0110011 | I           | rd, rs1, rs2
sltu        0000000      rs2     rs1     011   rd           0110011 | I           | rd, rs1, rs2
xor         0000000      rs2     rs1     100   rd           0110011 | I           | rd, rs1, rs2
srl         0000000      rs2     rs1     101   rd           0110011 | I           | rd, rs1, rs2
sra         0100000      rs2     rs1     101   rd           0110011 | I           | rd, rs1, rs2
or          0000000      rs2     rs1     110   rd           0110011 | I           | rd, rs1, rs2
and         0000000      rs2     rs1     111   rd           0110011 | I           | rd, rs1, rs2
addiw       imm[11:0]            rs1     000   rd           0011011 | I           | rd, rs1, imm
slliw       0000000      shamt5  rs1     001   rd           0011011 | I           | rd, rs1, shamt
srliw       0000000      shamt5  rs1     101   rd           0011011 | I           | rd, rs1, shamt
sraiw       0100000      shamt5  rs1     101   rd           0011011 | I           | rd, rs1, shamt
addw        0000000      rs2     rs1     000   rd           0111011 | I           | rd, rs1, rs2
subw        0100000      rs2     rs1     000   rd           0111011 | I           | rd, rs1, rs2
sllw        0000000      rs2     rs1     001   rd           0111011 | I           | rd, rs1, rs2
srlw        0000000      rs2     rs1     101   rd           0111011 | I           | rd, rs1, rs2
sraw        0100000      rs2     rs1     101   rd           0111011 | I           | rd, rs1, rs2

# Fences. Reserved fields of FENCE and FENCE.I are ignored; PAUSE is a hint within FENCE.
pause       0000000      10000   00000   000   00000        0001111 | Zihintpause |
fence       fm   pred  succ      -----   000   -----        0001111 | I           | pred, succ
fence.i     ------------         -----   001   -----        0001111 | Zifencei    |

# Environment calls and privileged instructions
ecall       0000000      00000   00000   000   00000        1110011 | I           |
ebreak      0000000      00001   00000   000   00000        1110011 | I           |
sret        0001000      00010   00000   000   00000        1110011 | Priv        |
mret        0011000      00010   00000   000   00000        1110011 | Priv        |
wfi         0001000      00101   00000   000   00000        1110011 | Priv        |
sfence.vma  0001001      rs2     rs1     000   00000        1110011 | Priv        | rs1, rs2

# Zicsr
csrrw       csr                  rs1     001   rd           1110011 | Zicsr       | rd, csr, rs1
csrrs       csr                  rs1     010   rd           1110011 | Zicsr       | rd, csr, rs1
csrrc       csr                  rs1     011   rd           1110011 | Zicsr       | rd, csr, rs1
csrrwi      csr                  zimm    101   rd           1110011 | Zicsr       | rd, csr, zimm
csrrsi      csr                  zimm    110   rd           1110011 | Zicsr       | rd, csr, zimm
csrrci      csr                  zimm    111   rd           1110011 | Zicsr       | rd, csr, zimm

# RV64M
mul         0000001      rs2     rs1     000   rd           0110011 | M           | rd, rs1, rs2
mulh        0000001      rs2     rs1     001   rd           0110011 | M           | rd, rs1, rs2
mulhsu      0000001      rs2     rs1     010   rd           0110011 | M           | rd, rs1, rs2
mulhu       0000001      rs2     rs1     011   rd           0110011 | M           | rd, rs1, rs2
div         0000001      rs2     rs1     100   rd           0110011 | M           | rd, rs1, rs2
divu        0000001      rs2     rs1     101   rd           0110011 | M           | rd, rs1, rs2
rem         0000001      rs2     rs1     110   rd           0110011 | M           | rd, rs1, rs2
remu        0000001      rs2     rs1     111   rd           0110011 | M           | rd, rs1, rs2
mulw        0000001      rs2     rs1     000   rd           0111011 | M           | rd, rs1, rs2
divw        0000001      rs2     rs1     100   rd           0111011 | M           | rd, rs1, rs2
divuw       0000001      rs2     rs1     101   rd           0111011 | M           | rd, rs1, rs2
remw        0000001      rs2     rs1     110   rd           0111011 | M           | rd, rs1, rs2
remuw       0000001      rs2     rs1     111   rd           0111011 | M           | rd, rs1, rs2

# RV64A
lr.w        00010 aq rl  00000   rs1     010   rd           0101111 | A           | rd, (rs1)
sc.w        00011 aq rl  rs2     rs1     010   rd           0101111 | A           | rd, rs2, (rs1)
amoswap.w   00001 aq rl  rs2     rs1     010   rd           0101111 | A           | rd, rs2, (rs1)
amoadd.w    00000 aq rl  rs2     rs1     010   rd           0101111 | A           | rd, rs2, (rs1)
amoxor.w    00100 aq rl  rs2     rs1     010   rd           0101111 | A           | rd, rs2, (rs1)
amoand.w    01100 aq rl  rs2     rs1     010   rd           0101111 | A           | rd, rs2, (rs1)
amoor.w     01000 aq rl  rs2     rs1     010   rd           0101111 | A           | rd, rs2, (rs1)
amomin.w    10000 aq rl  rs2     rs1     010   rd           0101111 | A           | rd, rs2, (rs1)
amomax.w    10100 aq rl  rs2     rs1     010   rd           0101111 | A           | rd, rs2, (rs1)
amominu.w   11000 aq rl  rs2     rs1     010   rd           0101111 | A           | rd, rs2, (rs1)
amomaxu.w   11100 aq rl  rs2     rs1     010   rd           0101111 | A           | rd, rs2, (rs1)
lr.d        00010 aq rl  00000   rs1     011   rd           0101111 | A           | rd, (rs1)
sc.d        00011 aq rl  rs2     rs1     011   rd           0101111 | A           | rd, rs2, (rs1)
amoswap.d   00001 aq rl  rs2     rs1     011   rd           0101111 | A           | rd, rs2, (rs1)
amoadd.d    00000 aq rl  rs2     rs1     011   rd           0101111 | A           | rd, rs2, (rs1)
amoxor.d    00100 aq rl  rs2     rs1     011   rd           0101111 | A           | rd, rs2, (rs1)
amoand.d    01100 aq rl  rs2     rs1     011   rd           0101111 | A           | rd, rs2, (rs1)
amoor.d     01000 aq rl  rs2     rs1     011   rd           0101111 | A           | rd, rs2, (rs1)
amomin.d    10000 aq rl  rs2     rs1     011   rd           0101111 | A           | rd, rs2, (rs1)
amomax.d    10100 aq rl  rs2     rs1     011   rd           0101111 | A           | rd, rs2, (rs1)
amominu.d   11000 aq rl  rs2     rs1     011   rd           0101111 | A           | rd, rs2, (rs1)
amomaxu.d   11100 aq rl  rs2     rs1     011   rd           0101111 | A           | rd, rs2, (rs1)

# RV64F
flw         imm[11:0]            rs1     010   rd           0000111 | F           | fd, imm(rs1)
fsw         imm[11:5]    rs2     rs1     010   imm[4:0]     0100111 | F           | fs2, imm(rs1)
fmadd.s     rs3   00     rs2     rs1     rm    rd           1000011 | F           | fd, fs1, fs2, fs3, rm
fmsub.s     rs3   00     rs2     rs1     rm    rd           1000111 | F           | fd, fs1, fs2, fs3, rm
fnmsub.s    rs3   00     rs2     rs1     rm    rd           1001011 | F           | fd, fs1, fs2, fs3, rm
fnmadd.s    rs3   00     rs2     rs1     rm    rd           1001111 | F           | fd, fs1, fs2, fs3, rm
fadd.s      0000000      rs2     rs1     rm    rd           1010011 | F           | fd, fs1, fs2, rm
fsub.s      0000100      rs2     rs1     rm    rd           1010011 | F           | fd, fs1, fs2, rm
fmul.s      0001000      rs2     rs1     rm    rd           1010011 | F           | fd, fs1, fs2, rm
fdiv.s      0001100      rs2     rs1     rm    rd           1010011 | F           | fd, fs1, fs2, rm
fsqrt.s     0101100      00000   rs1     rm    rd           1010011 | F           | fd, fs1, rm
fsgnj.s     0010000      rs2     rs1     000   rd           1010011 | F           | fd, fs1, fs2
fsgnjn.s    0010000      rs2     rs1     001   rd           1010011 | F           | fd, fs1, fs2
fsgnjx.s    0010000      rs2     rs1     010   rd           1010011 | F           | fd, fs1, fs2
fmin.s      0010100      rs2     rs1     000   rd           1010011 | F           | fd, fs1, fs2
fmax.s      0010100      rs2     rs1     001   rd           1010011 | F           | fd, fs1, fs2
feq.s       1010000      rs2     rs1     010   rd           1010011 | F           | rd, fs1, fs2
flt.s       1010000      rs2     rs1     001   rd           1010011 | F           | rd, fs1, fs2
fle.s       1010000      rs2     rs1     000   rd           1010011 | F           | rd, fs1, fs2
fclass.s    1110000      00000   rs1     001   rd           1010011 | F           | rd, fs1
fcvt.w.s    1100000      00000   rs1     rm    rd           1010011 | F           | rd, fs1, rm
fcvt.wu.s   1100000      00001   rs1     rm    rd           1010011 | F           | rd, fs1, rm
fcvt.l.s    1100000      00010   rs1     rm    rd           1010011 | F           | rd, fs1, rm
fcvt.lu.s   1100000      00011   rs1     rm    rd           1010011 | F           | rd, fs1, rm
fcvt.s.w    1101000      00000   rs1     rm    rd           1010011 | F           | fd, rs1, rm
fcvt.s.wu   1101000      00001   rs1     rm    rd           1010011 | F           | fd, rs1, rm
fcvt.s.l    1101000      00010   rs1     rm    rd           1010011 | F           | fd, rs1, rm
fcvt.s.lu   1101000      00011   rs1     rm    rd           1010011 | F           | fd, rs1, rm
fmv.x.w     1110000      00000   rs1     000   rd           1010011 | F           | rd, fs1
fmv.w.x     1111000      00000   rs1     000   rd           1010011 | F           | fd, rs1

# RV64D
fld         imm[11:0]            rs1     011   rd           0000111 | D           | fd, imm(rs1)
fsd         imm[11:5]    rs2     rs1     011   imm[4:0]     0100111 | D           | fs2, imm(rs1)
fmadd.d     rs3   01     rs2     rs1     rm    rd           1000011 | D           | fd, fs1, fs2, fs3, rm
fmsub.d     rs3   01     rs2     rs1     rm    rd           1000111 | D           | fd, fs1, fs2, fs3, rm
fnmsub.d    rs3   01     rs2     rs1     rm    rd           1001011 | D           | fd, fs1, fs2, fs3, rm
fnmadd.d    rs3   01     rs2     rs1     rm    rd           1001111 | D           | fd, fs1, fs2, fs3, rm
fadd.d      0000001      rs2     rs1     rm    rd           1010011 | D           | fd, fs1, fs2, rm
fsub.d      0000101      rs2     rs1     rm    rd           1010011 | D           | fd, fs1, fs2, rm
fmul.d      0001001      rs2     rs1     rm    rd           1010011 | D           | fd, fs1, fs2, rm
fdiv.d      0001101      rs2     rs1     rm    rd           1010011 | D           | fd, fs1, fs2, rm
fsqrt.d     0101101      00000   rs1     rm    rd           1010011 | D           | fd, fs1, rm
fsgnj.d     0010001      rs2     rs1     000   rd           1010011 | D           | fd, fs1, fs2
fsgnjn.d    0010001      rs2     rs1     001   rd           1010011 | D           | fd, fs1, fs2
fsgnjx.d    0010001      rs2     rs1     010   rd           1010011 | D           | fd, fs1, fs2
fmin.d      0010101      rs2     rs1     000   rd           1010011 | D           | fd, fs1, fs2
fmax.d      0010101      rs2     rs1     001   rd           1010011 | D           | fd, fs1, fs2
feq.d       1010001      rs2     rs1     010   rd           1010011 | D           | rd, fs1, fs2
flt.d       1010001      rs2     rs1     001   rd           1010011 | D           | rd, fs1, fs2
fle.d       1010001      rs2     rs1     000   rd           1010011 | D           | rd, fs1, fs2
fclass.d    1110001      00000   rs1     001   rd           1010011 | D           | rd, fs1
fcvt.w.d    1100001      00000   rs1     rm    rd           1010011 | D           | rd, fs1, rm
fcvt.wu.d   1100001      00001   rs1     rm    rd           1010011 | D           | rd, fs1, rm
fcvt.l.d    1100001      00010   rs1     rm    rd           1010011 | D           | rd, fs1, rm
fcvt.lu.d   1100001      00011   rs1     rm    rd           1010011 | D           | rd, fs1, rm
fcvt.d.w    1101001      00000   rs1     rm    rd           1010011 | D           | fd, rs1, exact
fcvt.d.wu   1101001      00001   rs1     rm    rd           1010011 | D           | fd, rs1, exact
fcvt.d.l    1101001      00010   rs1     rm    rd           1010011 | D           | fd, rs1, rm
fcvt.d.lu   1101001      00011   rs1     rm    rd           1010011 | D           | fd, rs1, rm
fcvt.s.d    0100000      00001   rs1     rm    rd           1010011 | D           | fd, fs1, rm
fcvt.d.s    0100001      00000   rs1     rm    rd           1010011 | D           | fd, fs1, exact
fmv.x.d     1110001      00000   rs1     000   rd           1010011 | D           | rd, fs1
fmv.d.x     1111001      00000   rs1     000   rd           1010011 | D           | fd, rs1

# Zba: address generation
sh1add      0010000      rs2     rs1     010   rd           0110011 | Zba         | rd, rs1, rs2
sh2add      0010000      rs2     rs1     100   rd           0110011 | Zba         | rd, rs1, rs2
sh3add      0010000      rs2     rs1     110   rd           0110011 | Zba         | rd, rs1, rs2
add.uw      0000100      rs2     rs1     000   rd           0111011 | Zba         | rd, rs1, rs2
sh1add.uw   0010000      rs2     rs1     010   rd           0111011 | Zba         | rd, rs1, rs2
sh2add.uw   0010000      rs2     rs1     100   rd           0111011 | Zba         | rd, rs1, rs2
sh3add.uw   0010000      rs2     rs1     110   rd           0111011 | Zba         | rd, rs1, rs2
slli.uw     000010       shamt6  rs1     001   rd           0011011 | Zba         | rd, rs1, shamt

# Zbb: basic bit manipulation
andn        0100000      rs2     rs1     111   rd           0110011 | Zbb         | rd, rs1, rs2
orn         0100000      rs2     rs1     110   rd           0110011 | Zbb         | rd, rs1, rs2
xnor        0100000      rs2     rs1     100   rd           0110011 | Zbb         | rd, rs1, rs2
clz         0110000      00000   rs1     001   rd           0010011 | Zbb         | rd, rs1
ctz         0110000      00001   rs1     001   rd           0010011 | Zbb         | rd, rs1
cpop        0110000      00010   rs1     001   rd           0010011 | Zbb         | rd, rs1
sext.b      0110000      00100   rs1     001   rd           0010011 | Zbb         | rd, rs1
sext.h      0110000      00101   rs1     001   rd           0010011 | Zbb         | rd, rs1
clzw        0110000      00000   rs1     001   rd           0011011 | Zbb         | rd, rs1
ctzw        0110000      00001   rs1     001   rd           0011011 | Zbb         | rd, rs1
cpopw       0110000      00010   rs1     001   rd           0011011 | Zbb         | rd, rs1
zext.h      0000100      00000   rs1     100   rd           0111011 | Zbb         | rd, rs1
min         0000101      rs2     rs1     100   rd           0110011 | Zbb         | rd, rs1, rs2
minu        0000101      rs2     rs1     101   rd           0110011 | Zbb         | rd, rs1, rs2
max         0000101      rs2     rs1     110   rd           0110011 | Zbb         | rd, rs1, rs2
maxu        0000101      rs2     rs1     111   rd           0110011 | Zbb         | rd, rs1, rs2
rol         0110000      rs2     rs1     001   rd           0110011 | Zbb         | rd, rs1, rs2
ror         0110000      rs2     rs1     101   rd           0110011 | Zbb         | rd, rs1, rs2
rori        011000       shamt6  rs1     101   rd           0010011 | Zbb         | rd, rs1, shamt
rolw        0110000      rs2     rs1     001   rd           0111011 | Zbb         | rd, rs1, rs2
rorw        0110000      rs2     rs1     101   rd           0111011 | Zbb         | rd, rs1, rs2
roriw       0110000      shamt5  rs1     101   rd           0011011 | Zbb         | rd, rs1, shamt
orc.b       0010100      00111   rs1     101   rd           0010011 | Zbb         | rd, rs1
rev8        0110101      11000   rs1     101   rd           0010011 | Zbb         | rd, rs1

# Zbs: single bits
bclr        0100100      rs2     rs1     001   rd           0110011 | Zbs         | rd, rs1, rs2
bclri       010010       shamt6  rs1     001   rd           0010011 | Zbs         | rd, rs1, shamt
bext        0100100      rs2     rs1     101   rd           0110011 | Zbs         | rd, rs1, rs2
bexti       010010       shamt6  rs1     101   rd           0010011 | Zbs         | rd, rs1, shamt
binv        0110100      rs2     rs1     001   rd           0110011 | Zbs         | rd, rs1, rs2
binvi       011010       shamt6  rs1     001   rd           0010011 | Zbs         | rd, rs1, shamt
bset        0010100      rs2     rs1     001   rd           0110011 | Zbs         | rd, rs1, rs2
bseti       001010       shamt6  rs1     001   rd           0010011 | Zbs         | rd, rs1, shamt
`

/** Pairs whose first line, standing earlier, wins over the second: PAUSE is a hint encoded as a FENCE. */
const overlaps: ReadonlySet<string> = new Set(['pause fence'])

export type Extension =
  | 'I'
  | 'M'
  | 'A'
  | 'F'
  | 'D'
  | 'Zicsr'
  | 'Zifencei'
  | 'Zihintpause'
  | 'Zba'
  | 'Zbb'
  | 'Zbs'
  | 'Priv'

/**
 * The layout of the immediate: the manual's formats, with I split by what the twelve bits hold (a signed
 * number; a shift amount; twelve unsigned bits: a csr number or FENCE's fm, pred and succ).
 */
export type Format = 'R' | 'R4' | 'I' | 'shift' | 'unsigned' | 'S' | 'B' | 'U' | 'J'

export type RegisterFile = 'x' | 'f'

/** Which register file each register field names; a field that the instruction lacks is undefined. */
export type RegisterFiles = { readonly [name in 'rd' | 'rs1' | 'rs2' | 'rs3']?: RegisterFile }

export interface Instruction {
  /** Index in `instructions`. */
  readonly op: number
  /** As in the manual: `addi`, `amoadd.w`, `fence.i`. */
  readonly name: string
  readonly format: Format
  readonly extension: Extension
  readonly pattern: Pattern
  /** Operand names in assembly order, such as `rd, imm(rs1)`. */
  readonly operands: string
  readonly registers: RegisterFiles
}

const formatOfImmediate: Readonly<Record<string, Format>> = {
  '': 'R',
  'imm[11:0]': 'I',
  shamt5: 'shift',
  shamt6: 'shift',
  csr: 'unsigned',
  'fm pred succ': 'unsigned',
  'imm[11:5] imm[4:0]': 'S',
  'imm[12|10:5] imm[4:1|11]': 'B',
  'imm[31:12]': 'U',
  'imm[20|10:1|11|19:12]': 'J',
}

const registerOperands: Readonly<Record<string, readonly [keyof RegisterFiles, RegisterFile]>> = {
  rd: ['rd', 'x'],
  rs1: ['rs1', 'x'],
  rs2: ['rs2', 'x'],
  fd: ['rd', 'f'],
  fs1: ['rs1', 'f'],
  fs2: ['rs2', 'f'],
  fs3: ['rs3', 'f'],
}

/** Every 32-bit instruction; the index is the op. */
export const instructions: readonly Instruction[] = parseTable(table)

const opByName = new Map(instructions.map((instruction) => [instruction.name, instruction.op]))

/**
 * The op of the instruction of this name. An unknown name is a mistake in our code and fails an assertion.
 */
export function opOf(name: string): number {
  const op = opByName.get(name)
  assert(op !== undefined, `no instruction is named ${name}`)
  return op
}

/** The instruction of this name, or undefined. */
export function findInstruction(name: string): Instruction | undefined {
  const op = opByName.get(name)
  return op === undefined ? undefined : instructions[op]
}

/** The field of an instruction's encoding that holds the register operand `rd`, `fs1`, ..., with its file. */
export function registerOperand(operand: string): readonly [FieldName, RegisterFile] | undefined {
  return registerOperands[operand]
}

/** Parses a table of 32-bit instructions. Lines that overlap without leave fail an assertion. */
export function parseTable(text: string): Instruction[] {
  const lines = text.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#'))
  const parsed = lines.map(parseLine)
  assertDisjoint(parsed, overlaps)
  return parsed
}

function parseLine(line: string, op: number): Instruction {
  const [encoding = '', extension = '', operands = ''] = line.split(/\s\|/).map((column) => column.trim())
  const [name = '', ...tokens] = encoding.split(/\s+/)
  const pattern = parsePattern(tokens.join(' '))
  assert(pattern.size === 32 && (pattern.match & 3) === 3, `${name} is not a 32-bit instruction`)
  const immediate = tokens.filter((token) => /^(imm|shamt|csr|fm|pred|succ)/.test(token)).join(' ')
  const format = tokens.includes('rs3') ? 'R4' : formatOfImmediate[immediate]
  assert(format !== undefined, `${name} has an immediate of an unknown format: ${immediate}`)
  const registers = registersOf(operands)
  return { op, name, format, extension: extension as Extension, pattern, operands, registers }
}

function registersOf(operands: string): RegisterFiles {
  const named = operands.split(/[ ,()]+/).flatMap((operand) => [registerOperands[operand] ?? []])
  return Object.fromEntries(named.filter((entry) => entry.length === 2))
}
