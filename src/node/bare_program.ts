/** Runs a bare-metal ELF file to its end: what `understudy exec` does. */
import { setImmediate } from 'node:timers/promises'
import { FormatError, UserError } from '../base/errors.ts'
import { BareComputer, type BareEnd, signature } from '../board/bare.ts'
import { type ElfFile, readElf, symbolAddress } from '../board/elf.ts'
import { nodeEngine } from '../host/engine.ts'
import { emissionWorker } from './emission_worker.ts'
import { checkOutputFile, readInputFile, writeOutputFile } from './files.ts'
import type { GuestProfiler } from './profile/guest_profiler.ts'
import { type ReportedEnd, runReport, writeRunReport } from './run_report.ts'

export interface BareProgramOptions {
  readonly path: string
  readonly ramBytes: number
  readonly harts: number
  /** Steps after which the run ends; undefined runs forever. */
  readonly stepsMax: bigint | undefined
  /** Where to write the signature, in the format of RISC-V's architecture tests. */
  readonly signaturePath: string | undefined
  /** Whether hot code is translated. */
  readonly translates: boolean
  /** Where to write the report. */
  readonly reportPath: string | undefined
  /** Finds out where the time goes. */
  readonly profiler: GuestProfiler | undefined
  /** What the program prints. */
  readonly print: (bytes: Uint8Array) => void
  /** Called every few milliseconds of the run; true ends it. */
  readonly isInterrupted: () => boolean
}

export interface BareProgramEnd {
  readonly end: ReportedEnd
  /** The program's own status; undefined unless it ended by itself. */
  readonly exitStatus: number | undefined
  readonly position: bigint
  /** Where hart 0 stands. */
  readonly pc: bigint
}

/** Steps between looks at whether the user has had enough: some ten milliseconds. */
const CHUNK_STEPS = 4_000_000n

/**
 * Runs the program, and writes the report, and, if the program ended by itself, the signature.
 * @throws FormatError if the file is not an RV64 executable
 * @throws UserError if the file cannot be read, does not fit, or a result cannot be written
 */
export async function runBareProgram(options: BareProgramOptions): Promise<BareProgramEnd> {
  const { path, ramBytes, harts, print, signaturePath, reportPath } = options
  const elf = readElf(readInputFile(path), path)
  if (signaturePath !== undefined) checkSignature(elf, path, signaturePath)
  if (reportPath !== undefined) checkOutputFile(reportPath)
  const translation = options.translates ? 'hot' : 'off'
  const computer = new BareComputer({
    engine: nodeEngine,
    elf,
    name: path,
    ramBytes,
    harts,
    translation,
    observer: options.profiler?.observer,
    emission: emissionWorker,
    print,
  })
  options.profiler?.start(computer.machine, elf)
  const start = performance.now()
  const { end, exitStatus } = await runToEnd(computer, options)
  const wallSeconds = (performance.now() - start) / 1000
  options.profiler?.stop()
  const { position } = computer.machine
  if (signaturePath !== undefined && end === 'exit') await writeSignature(computer, elf, options)
  if (reportPath !== undefined) {
    const digest = computer.machine.digest()
    const measured = { end, exitStatus, wallSeconds, idleSeconds: 0, position, steps: position, digest }
    await writeRunReport(reportPath, runReport(measured))
  }
  return { end, exitStatus, position, pc: computer.machine.harts[0]!.get64('pc') }
}

async function runToEnd(
  computer: BareComputer,
  { stepsMax, isInterrupted }: BareProgramOptions,
): Promise<{ end: ReportedEnd; exitStatus: number | undefined }> {
  for (;;) {
    const chunkEnd = computer.machine.position + CHUNK_STEPS
    const isLast = stepsMax !== undefined && stepsMax <= chunkEnd
    const end = runChunk(computer, isLast ? stepsMax : chunkEnd)
    if (end.kind === 'exit') return { end: 'exit', exitStatus: end.status }
    if (end.kind === 'idle' || isLast) return { end: end.kind, exitStatus: undefined }
    await setImmediate()
    if (isInterrupted()) return { end: 'interrupted', exitStatus: undefined }
  }
}

/** As the computer's own `run`, with the one thing that the outside can do wrong there as an end. */
function runChunk(computer: BareComputer, limit: bigint): BareEnd | { readonly kind: 'idle' } {
  try {
    return computer.run(limit)
  } catch (error) {
    if (error instanceof UserError) return { kind: 'idle' }
    throw error
  }
}

function checkSignature(elf: ElfFile, path: string, signaturePath: string): void {
  for (const name of ['begin_signature', 'end_signature']) {
    if (symbolAddress(elf, name) !== undefined) continue
    throw new FormatError(`${path} has no symbol ${name}, so it has no signature: leave --signature out`)
  }
  checkOutputFile(signaturePath)
}

async function writeSignature(
  computer: BareComputer,
  elf: ElfFile,
  { path, signaturePath }: BareProgramOptions,
): Promise<void> {
  const text = signature(computer, elf)
  if (text === undefined) {
    throw new FormatError(`${path}: its signature, begin_signature to end_signature, is not in RAM`)
  }
  await writeOutputFile(signaturePath!, text)
}
