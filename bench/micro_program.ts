/** The programs of bench/micro, compiled for the guest and for the host. */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../tools/runtime.ts'

const SOURCES = join(root, 'bench', 'micro')

/**
 * No fused multiplication and addition, which a compiler may make of two operations where the processor has it: it rounds once
 * and not twice, and checksums would differ.
 */
const FLAGS = ['-std=gnu11', '-O2', '-ffp-contract=off']

/** Compilers, and the Debian packages that they come in. */
const COMPILERS = {
  guest: { program: 'riscv64-linux-gnu-gcc', from: 'gcc-riscv64-linux-gnu', flags: ['-static'] },
  host: { program: 'gcc', from: 'gcc', flags: [] },
} as const

/** Compiles the programs to one file. Throws if that cannot be done. */
export function compileMicro(target: keyof typeof COMPILERS, path: string): void {
  const { program, from, flags } = COMPILERS[target]
  const sources = readdirSync(SOURCES).filter((name) => name.endsWith('.c'))
  const words = [...FLAGS, ...flags, ...sources.map((name) => join(SOURCES, name)), '-lm', '-o', path]
  const { status, error, stderr } = spawnSync(program, words, { encoding: 'utf8' })
  if (error !== undefined) throw new Error(`cannot run ${program}: install the Debian package ${from}`)
  if (status !== 0) throw new Error(`${program}: ${stderr.trim()}`)
}
