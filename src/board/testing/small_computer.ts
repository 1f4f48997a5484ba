/** Computers that boot a few lines of assembly instead of an operating system. */
import { assemble } from '../../isa/assemble.ts'
import type { Engine } from '../../machine/machine.ts'
import { Computer, type ComputerSpecification } from '../computer.ts'

const TEXT_OFFSET = 0x20_0000
const IMAGE_BYTES = 0x1_0000
/** Where the first instruction of a small kernel stands. */
export const KERNEL_ADDRESS = 0x8000_0000 + TEXT_OFFSET

/** A RISC-V boot image (Linux, "RISC-V boot image header") of the program, entered in S-mode with a0 = hart id. */
export function smallKernel(source: string): Uint8Array {
  const header = `
    j start
    .align 3
    .dword ${TEXT_OFFSET}
    .dword ${IMAGE_BYTES}
    .zero 32
    .word 0x05435352
    .word 0
  start:`
  return assemble(header + source, BigInt(KERNEL_ADDRESS)).bytes
}

/** A computer without disk and network that has been switched on, with the program as its kernel. */
export function smallComputer(
  engine: Engine,
  source: string,
  options: Partial<ComputerSpecification> = {},
): Computer {
  const kernel = smallKernel(source)
  const specification = {
    ...{ harts: 1, ramBytes: 64 * 2 ** 20, bootArguments: '', rngSeed: new Uint8Array(32) },
    ...options,
  }
  const computer = new Computer({
    ...{ engine, specification },
    bootFiles: () => ({ kernel, initramfs: undefined }),
  })
  computer.start()
  return computer
}

/** Assembly that calls the SBI: extension and function, arguments in a0 and so on already. */
export const sbiCall = (extension: string, call: number): string => {
  const number = [...extension].reduce((bits, letter) => bits * 256 + letter.charCodeAt(0), 0)
  return `li a7, ${number}; li a6, ${call}; ecall`
}
