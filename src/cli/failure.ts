/** How a command fails: one line on the standard error, and the exit code that belongs to it. */
import { CorruptionError, FormatError, UserError } from '../base/errors.ts'
import { fileError, systemErrorCode } from '../node/file_error.ts'
import { EXIT_CODE } from './exit_codes.ts'
import { OutputClosed, writeError } from './standard_streams.ts'

/** The code of a UserError that a command knows better than its class tells. */
export class CommandError extends UserError {
  readonly exitCode: number

  constructor(message: string, exitCode: number) {
    super(message)
    this.exitCode = exitCode
  }
}

/** Tells the user about `error`, and returns the exit code. UNDERSTUDY_DEBUG=1 shows stacks. */
export function reportFailure(failure: unknown): number {
  // Nobody reads any more, so nobody is told.
  if (failure instanceof OutputClosed) return EXIT_CODE.outputClosed
  const error = asUserError(failure)
  const exitCode = exitCodeOf(error)
  const isExpected = exitCode !== EXIT_CODE.internal
  const message = error instanceof Error ? error.message : String(error)
  const isDebugging = process.env['UNDERSTUDY_DEBUG'] === '1'
  if (isExpected) tell(message)
  else if (isDebugging) tell(`internal error: ${message}`)
  else tell(`internal error: ${message} (run it again with UNDERSTUDY_DEBUG=1 to see where, and report it)`)
  if (isDebugging && error instanceof Error) writeError(`${error.stack}\n`)
  return exitCode
}

/** Writes one line `understudy: MESSAGE`. */
export function tell(message: string): void {
  writeError(`understudy: ${message.trim().replace(/\s*\n\s*/g, ' ')}\n`)
}

/**
 * What the operating system says about a file that the code at hand takes for granted (a directory of ours that may not
 * be written, say) is no mistake of ours.
 */
function asUserError(error: unknown): unknown {
  if (systemErrorCode(error) === undefined) return error
  const { syscall, path } = error as NodeJS.ErrnoException
  return path === undefined ? error : fileError(error, syscall!, path)
}

function exitCodeOf(error: unknown): number {
  if (error instanceof CommandError) return error.exitCode
  if (error instanceof FormatError) return EXIT_CODE.file
  if (error instanceof CorruptionError) return EXIT_CODE.difference
  if (error instanceof UserError) return isSystemError(error.cause) ? EXIT_CODE.file : EXIT_CODE.failure
  return isUsageError(error) ? EXIT_CODE.usage : EXIT_CODE.internal
}

/** Errors of the operating system about files come wrapped in a UserError that names the file. */
function isSystemError(cause: unknown): boolean {
  return cause instanceof Error && 'syscall' in cause
}

/** Commander's errors, known by their code, so that this module does not load commander. */
function isUsageError(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('commander.')
}
