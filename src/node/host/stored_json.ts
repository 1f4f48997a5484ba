/** Small files of JSON with a kind and a version, written whole or not at all, and checked when they are read. */
import { readFileSync } from 'node:fs'
import type { z } from 'zod'
import { FormatError } from '../../base/errors.ts'
import { writeFileAtomically } from '../../host/atomic_file.ts'
import { fileError } from '../../host/file_error.ts'

/** Longer files are none of ours. */
const BYTES_MAX = 1 << 20

/** Reads the JSON of `path`. Throws a UserError if there is none, a FormatError that names the first wrong field. */
export function readStoredJson<S extends z.ZodType>(path: string, schema: S): z.infer<S> {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw fileError(error, 'read', path)
  }
  if (text.length > BYTES_MAX) throw new FormatError(`${path}: ${text.length} characters are too many`)
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw new FormatError(`${path}: not JSON: ${(error as Error).message}`)
  }
  return checkAgainst(schema, json, path)
}

/** What `schema` makes of `value`. Throws a FormatError that names the first wrong field; `what` is where it is from. */
export function checkAgainst<S extends z.ZodType>(schema: S, value: unknown, what: string): z.infer<S> {
  const { success, data, error } = schema.safeParse(value)
  if (success) return data
  const issue = error.issues[0]!
  const at = issue.path.length === 0 ? '' : `${issue.path.join('.')}: `
  throw new FormatError(`${what}: ${at}${issue.message}`)
}

/** Throws a UserError if it cannot be written. */
export async function writeStoredJson(path: string, value: object): Promise<void> {
  await writeFileAtomically(path, `${JSON.stringify(value, undefined, 2)}\n`)
}
