/** `understudy doctor`: what this machine lacks, and what to do about it. */
import { existsSync, statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import { constants as zlib } from 'node:zlib'
import type { Command } from 'commander'
import { UserError } from '../base/errors.ts'
import { KEYRING } from '../image/apt.ts'
import { PACKAGE_OF, runCommand } from '../image/command.ts'
import { chooseMirror, readSources } from '../image/sources.ts'
import { imagesDirectory } from '../image/store.ts'
import { canReserve, hasBranchHints, hasMultiMemory } from '../node/engine_features.ts'
import { RAM_BYTES_MAX } from '../node/machine_limits.ts'
import { formatSize } from './arguments.ts'
import { type Finding, findingsTable, isMissing } from './doctor_finding.ts'
import { protectedFindings } from './doctor_protected.ts'
import { EXIT_CODE } from './exit_codes.ts'
import { writeOutput } from './standard_streams.ts'

const NODE_MAJOR_MIN = 24
const NEWER_NODE = `use the pinned runtime (npm install, then ./understudy) or Node ${NODE_MAJOR_MIN} or newer`
/** Packages, what is unpacked of them, and the disk of a small image. */
const BUILD_BYTES = 2 ** 30

const HELP = `
Ends with ${EXIT_CODE.success} if nothing is missing, with ${EXIT_CODE.failure} otherwise. What some can do without is not counted.

Examples:
  understudy doctor
  understudy doctor --json`

export function define(command: Command): void {
  command
    .description('Says what is missing on this machine, and what to do about it.')
    .option('--json', 'print JSON')
    .addHelpText('after', HELP)
    .action(doctor)
}

async function doctor(options: { readonly json?: true }): Promise<void> {
  const findings = [...runtimeFindings(), ...(await protectedFindings()), ...(await buildFindings())]
  const ok = !findings.some(isMissing)
  writeOutput(options.json ? `${JSON.stringify({ ok, findings }, undefined, 2)}\n` : findingsTable(findings))
  process.exitCode = ok ? EXIT_CODE.success : EXIT_CODE.failure
}

function runtimeFindings(): Finding[] {
  const major = Number(process.versions.node.split('.')[0])
  const at = process.execPath
  const finding = (name: string, ok: boolean, found: string, remedy = NEWER_NODE): Finding => ({
    name,
    neededFor: 'running machines',
    ok,
    found,
    remedy: ok ? '' : remedy,
  })
  const presence = (isThere: boolean): string => (isThere ? 'there' : 'missing')
  const hasMemories = hasMultiMemory()
  const hasHints = hasBranchHints()
  const hasZstd = 'ZSTD_c_compressionLevel' in zlib
  const hasRoom = canReserve(RAM_BYTES_MAX)
  const room = `a guest of ${formatSize(RAM_BYTES_MAX)} ${hasRoom ? 'fits' : 'does not fit'}`
  return [
    finding('Node.js', major >= NODE_MAJOR_MIN, `${process.versions.node} (${at})`),
    finding('WebAssembly multi-memory', hasMemories, presence(hasMemories)),
    finding('WebAssembly branch hints', hasHints, presence(hasHints)),
    finding('zstd in node:zlib', hasZstd, presence(hasZstd)),
    finding('address space', hasRoom, room, 'raise the limit (ulimit -v unlimited)'),
  ]
}

async function buildFindings(): Promise<Finding[]> {
  const tools = await Promise.all(Object.keys(PACKAGE_OF).map(toolFinding))
  return [...tools, keyringFinding(), mirrorFinding(), spaceFinding()]
}

async function toolFinding(program: string): Promise<Finding> {
  const name = program
  try {
    // The tools of e2fsprogs print their version to the standard error.
    const isFileSystemTool = PACKAGE_OF[program] === 'e2fsprogs'
    const { stdout, stderr } = await runCommand(program, [isFileSystemTool ? '-V' : '--version'])
    const version = /\d+\.[\w.]*\w/.exec(`${stdout}${stderr}`)?.[0] ?? 'of an unknown version'
    return { name, neededFor: 'building images', ok: true, found: version, remedy: '' }
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    const remedy = `apt-get install ${PACKAGE_OF[program]}`
    return { name, neededFor: 'building images', ok: false, found: error.message, remedy }
  }
}

function keyringFinding(): Finding {
  const ok = existsSync(KEYRING)
  const remedy = ok ? '' : 'apt-get install debian-archive-keyring'
  const found = ok ? KEYRING : `${KEYRING} is missing`
  return { name: 'Debian archive keyring', neededFor: 'building images', ok, found, remedy }
}

function mirrorFinding(): Finding {
  const name = 'Debian mirror'
  try {
    return { name, neededFor: 'building images', ok: true, found: chooseMirror(readSources()), remedy: '' }
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    const remedy = 'name one when you build: understudy image build debian --mirror URL'
    return { name, neededFor: 'building images', ok: false, found: 'none among the apt sources', remedy }
  }
}

function spaceFinding(): Finding {
  const directory = imagesDirectory()
  let present = directory
  while (!existsSync(present)) present = dirname(present)
  const { bavail, bsize } = statfsSync(present)
  const ok = bavail * bsize >= BUILD_BYTES
  const remedy = ok ? '' : `free ${formatSize(BUILD_BYTES)}, or name another place in UNDERSTUDY_HOME`
  const found = `${formatSize(bavail * bsize)} free for ${directory}`
  return { name: 'disk space', neededFor: 'building images', ok, found, remedy }
}
