/**
 * A machine as people write it down: the YAML file of `understudy run --file`. Its JSON Schema is published
 * (docs/machine.schema.json), so that editors complete and check it.
 */
import { readFileSync, statSync } from 'node:fs'
import { isMap, LineCounter, type Node, parseDocument } from 'yaml'
import { z } from 'zod'
import { FormatError } from '../../base/errors.ts'
import { fileError } from '../../host/file_error.ts'
import { HARTS_MAX } from '../machine_limits.ts'
import { settingsSchema } from './host_config.ts'
import { nearestWord } from './nearest_word.ts'

const BYTES_MAX = 64 * 1024
const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'use letters, digits, . _ and -')

export const runFileSchema = z.strictObject({
  name: name.describe("The machine's name; without it the image's.").optional(),
  image: name.describe('The image, by its name; without it debian.').optional(),
  publish: z
    .array(z.string().regex(/:\d+$/, 'write [HOST:]PORT:GUESTPORT'))
    .describe('TCP ports of this computer that stand for ports of the guest, as [HOST:]PORT:GUESTPORT.')
    .optional(),
  net: z
    .string()
    .regex(/^(gateway|none|stream:.+|tap:.{1,15})$/, 'write gateway, stream:ADDRESS, tap:INTERFACE or none')
    .describe(
      'How the guest is on a network: gateway (the default), stream:ADDRESS (as QEMU -netdev stream), tap:INTERFACE (Linux), or none.',
    )
    .optional(),
  memory: z
    .string()
    .regex(/^[1-9]\d*[KMG]?$/, 'write a size as 512M or 1G')
    .describe('RAM, as 512M or 1G.')
    .optional(),
  harts: z.int().min(1).max(HARTS_MAX).describe('How many harts the machine has; without it 1.').optional(),
  arbiter: z
    .string()
    .regex(/^(file|etcd):./, 'write file:DIR or etcd:URL[,URL...]')
    .describe(
      'Who decides which host acts: file:DIR or etcd:URL[,URL...]; without it a directory of the machine.',
    )
    .optional(),
  hosts: z
    .array(z.string().min(1))
    .length(2)
    .describe('The daemons of two hosts, as HOST[:PORT]; without it both copies run on this computer.')
    .optional(),
  secret: z.string().min(1).describe('The file of the secret that the hosts share.').optional(),
  gatewayListen: z
    .string()
    .min(1)
    .describe('The address of this computer at which hosts on other computers reach the gateway.')
    .optional(),
  append: z.string().describe('More kernel parameters.').optional(),
  allowLoopback: z
    .boolean()
    .describe(
      "Whether the guest may reach this computer's own loopback at 10.0.2.2, its link-local network and its cloud's metadata.",
    )
    .optional(),
  translate: z
    .boolean()
    .describe(
      'Whether hot code is translated to WebAssembly, which changes nothing but speed; without it true.',
    )
    .optional(),
  allowFaults: z.boolean().describe('Whether tests may inject faults.').optional(),
  record: z.boolean().describe('Whether the log of each life is kept, for understudy replay.').optional(),
  build: z.boolean().describe('Whether to build the image first if there is none of this name.').optional(),
  detach: z.boolean().describe('Whether to go on in the background.').optional(),
  settings: settingsSchema.describe('Settings of the protocol; those left out are the default.').optional(),
})
export type RunFile = z.infer<typeof runFileSchema>

/** The published JSON Schema of the file, as text. */
export function runFileJsonSchema(): string {
  const schema = z.toJSONSchema(runFileSchema, { target: 'draft-2020-12' })
  const { $schema, ...rest } = schema
  const title = 'A protected machine, for understudy run --file'
  return `${JSON.stringify({ $schema, title, ...rest }, undefined, 2)}\n`
}

/** Reads a file. Throws a UserError if it cannot be read, a FormatError with the line of the first mistake. */
export function readRunFile(path: string): RunFile {
  let text: string
  try {
    const { size } = statSync(path)
    if (size > BYTES_MAX) throw new FormatError(`${path}: ${size} bytes are too many for a machine's file`)
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof FormatError) throw error
    throw fileError(error, 'read', path)
  }
  return parseRunFile(text, path)
}

/** `what` names the file in errors. Throws a FormatError with the line of the first mistake. */
export function parseRunFile(text: string, what: string): RunFile {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, logLevel: 'error' })
  const wrong = document.errors[0] ?? document.warnings[0]
  if (wrong !== undefined) {
    const line = lines.linePos(wrong.pos[0]).line
    throw new FormatError(`${what}: line ${line}: ${wrong.message.split('\n')[0]!}`)
  }
  const { success, data, error } = runFileSchema.safeParse(plainValue(document.toJS.bind(document), what))
  if (success) return data
  const { path, message, ...issue } = error.issues[0]!
  const node = path.length === 0 ? document.contents : document.getIn(path, true)
  const at = (range: Node['range']): string => `${what}: line ${range ? lines.linePos(range[0]).line : 1}: `
  if (issue.code === 'unrecognized_keys') {
    const key = (issue as { keys: readonly string[] }).keys[0]!
    const pair = isMap(node) ? node.items.find((item) => String(item.key) === key) : undefined
    // A key may be a collection, which is written over several lines.
    const where = path.length === 0 ? '' : ` of ${path.join('.')}`
    throw new FormatError(
      `${at((pair?.key as Node | undefined)?.range)}there is no key ${key.replace(/\s+/g, ' ')}${where}${hint(key, path)}`,
    )
  }
  const field = path.length === 0 ? '' : `${path.join('.')}: `
  throw new FormatError(`${at((node as Node | undefined)?.range)}${field}${message}`)
}

/** What the document says. An empty file says nothing, and that is a machine as well. */
function plainValue(toJS: () => unknown, what: string): unknown {
  try {
    return toJS() ?? {}
  } catch (error) {
    // Aliases that multiply, say.
    throw new FormatError(`${what}: ${(error as Error).message}`)
  }
}

/** What was meant, if that can be guessed. */
function hint(key: string, path: readonly PropertyKey[]): string {
  const known = Object.keys(path[0] === 'settings' ? settingsSchema.shape : runFileSchema.shape)
  const nearest = nearestWord(key, known)
  if (nearest !== undefined) return `: is ${nearest} meant?`
  const isSetting = path.length === 0 && key in settingsSchema.shape
  return isSetting ? ': it is a key of settings' : `: there are ${known.join(', ')}`
}
