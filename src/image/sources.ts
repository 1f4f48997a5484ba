/**
 * Where this machine gets its packages from: apt's source lists in both formats (one line per source, and deb822
 * stanzas; sources.list(5)). The project names no mirror of its own: an image comes from the mirror that the
 * machine's administrator has chosen, or from the one given on the command line.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { UserError } from '../base/errors.ts'

/** One source of binary packages. */
export interface Source {
  /** Address of the archive, without a slash at its end. */
  readonly uri: string
  readonly suites: readonly string[]
  readonly components: readonly string[]
}

const DEBIAN_SUITES =
  /^(stable|oldstable|oldoldstable|testing|unstable|sid|buster|bullseye|bookworm|trixie|forky|duke)(\/updates)?$/

/** Reads sources in the one-line format: `deb [options] uri suite component...`. */
export function parseOneLineSources(text: string): Source[] {
  const sources: Source[] = []
  for (const line of text.split('\n')) {
    const match = /^\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)([^#]*)/.exec(line)
    if (match === null) continue
    const components = match[3]!.trim().split(/\s+/).filter(Boolean)
    sources.push({ uri: withoutSlash(match[1]!), suites: [match[2]!], components })
  }
  return sources
}

/** Reads sources in the deb822 format: stanzas of `Field: value`, continued by indented lines. */
export function parseDeb822Sources(text: string): Source[] {
  const withoutComments = text.split('\n').filter((line) => !line.startsWith('#'))
  const stanzas = withoutComments.join('\n').split(/\n\s*\n/)
  return stanzas.flatMap((stanza) => {
    const fields = stanzaFields(stanza)
    const words = (name: string) => (fields.get(name) ?? '').split(/\s+/).filter(Boolean)
    if (!words('types').includes('deb') || /^(no|false|0)$/i.test(fields.get('enabled') ?? '')) return []
    return words('uris').map((uri) => ({
      uri: withoutSlash(uri),
      suites: words('suites'),
      components: words('components'),
    }))
  })
}

/** All enabled sources of the machine, from `directory` (normally /etc/apt). */
export function readSources(directory = '/etc/apt'): Source[] {
  const sources = parseOneLineSources(readIfPresent(join(directory, 'sources.list')))
  const parts = join(directory, 'sources.list.d')
  for (const name of listIfPresent(parts)) {
    const path = join(parts, name)
    if (name.endsWith('.list')) sources.push(...parseOneLineSources(readIfPresent(path)))
    if (name.endsWith('.sources')) sources.push(...parseDeb822Sources(readIfPresent(path)))
  }
  return sources
}

/**
 * The Debian mirror among the machine's sources: the first that carries the main component of a Debian release. Other
 * vendors name their suites after Debian's too, so its path must have `debian` in it. Throws a UserError if there is
 * none, as on Ubuntu.
 */
export function chooseMirror(sources: readonly Source[]): string {
  const mirror = sources.find(
    (source) =>
      /^(https?|file|copy):(\/\/[^/]*)?\/(.*\/)?debian(\/|$)/.test(source.uri) &&
      source.components.includes('main') &&
      source.suites.some((suite) => DEBIAN_SUITES.test(suite)),
  )
  if (mirror !== undefined) return mirror.uri
  throw new UserError('no Debian mirror among the apt sources of this machine: name one with --mirror URL')
}

/** Checks a mirror given by the user. Throws a UserError. */
export function parseMirror(text: string): string {
  if (/^(https?:\/\/[^\s/]+|file:\/)\S*$/.test(text) && !/["\\[\]]/.test(text)) return withoutSlash(text)
  throw new UserError(`--mirror ${text}: expected the http:, https: or file: address of a Debian archive`)
}

function stanzaFields(stanza: string): Map<string, string> {
  const fields = new Map<string, string>()
  let name = ''
  for (const line of stanza.split('\n')) {
    const match = /^([A-Za-z-]+):(.*)$/.exec(line)
    if (match !== null) name = match[1]!.toLowerCase()
    const value = match === null ? line : match[2]!
    fields.set(name, `${fields.get(name) ?? ''} ${value}`.trim())
  }
  return fields
}

function withoutSlash(uri: string): string {
  return uri.replace(/\/+$/, '')
}

function readIfPresent(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // A source that this user may not read is one that apt would not read for them either.
    return ''
  }
}

function listIfPresent(directory: string): string[] {
  try {
    return readdirSync(directory).sort()
  } catch {
    return []
  }
}
