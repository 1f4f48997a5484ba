/**
 * Fetching Debian packages of another architecture as an ordinary user. apt gets a configuration of its own, with all
 * its directories in our cache, and resolves, downloads and verifies everything against the Debian archive keyring;
 * nothing of the machine's own package system is touched. From the machine's configuration only the ways to reach a
 * mirror (proxies and the like) are taken over.
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { UserError } from '../base/errors.ts'
import { type CommandResult, commandError, diskFullError, requireCommand, runCommand } from './command.ts'
import { ARCHITECTURE, packageDatabase, SUITE } from './packages.ts'

export const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'

/** A package that belongs to an image. */
export interface ResolvedPackage {
  readonly name: string
  readonly version: string
  readonly architecture: string
  /** The downloaded .deb file. */
  readonly path: string
}

/** Reports how far a step is: `done` of `total`, in percent for downloads. */
export type OnPercent = (percent: number) => void

export class Apt {
  readonly #directory: string
  readonly #mirror: string

  /** Prepares apt's directories below `directory` for packages from `mirror`. */
  constructor(directory: string, mirror: string) {
    this.#directory = directory
    this.#mirror = mirror
    if (!existsSync(KEYRING)) {
      throw new UserError(
        `${KEYRING} is missing, which packages are verified with: install debian-archive-keyring`,
      )
    }
    for (const name of ['etc', 'lists/partial', 'archives/partial', 'state', 'log']) {
      mkdirSync(join(directory, name), { recursive: true })
    }
  }

  /** Fetches the mirror's package index. Throws a UserError if it is out of reach or not verified. */
  async update(onPercent: OnPercent): Promise<void> {
    await this.#configure([])
    const result = await this.#run(['update'], onPercent)
    if (result.status !== 0 || /^W: .*Failed to fetch/m.test(result.stderr)) throw this.#updateError(result)
  }

  /** Resolves `names` with everything that they depend on, and downloads what is not in the cache yet. */
  async fetch(names: readonly string[], onPercent: OnPercent): Promise<ResolvedPackage[]> {
    await this.#configure(names)
    const simulation = await this.#run(['install', '--simulate', ...names])
    if (simulation.status !== 0) throw this.#resolveError(simulation)
    const packages = this.#parseSimulation(simulation.stdout.toString())
    const download = await this.#run(['install', '--yes', '--download-only', ...names], onPercent)
    if (download.status !== 0) throw this.#downloadError(download)
    return packages
  }

  #parseSimulation(output: string): ResolvedPackage[] {
    const packages = [...output.matchAll(/^Inst (\S+) \((\S+) .*\[(\w+)\]\)/gm)].map((match) => {
      const [name, version, architecture] = [match[1]!.replace(/:.*/, ''), match[2]!, match[3]!]
      const file = `${name}_${version.replaceAll(':', '%3a')}_${architecture}.deb`
      return { name, version, architecture, path: join(this.#directory, 'archives', file) }
    })
    return packages.sort((left, right) => (left.name < right.name ? -1 : 1))
  }

  async #configure(requested: readonly string[]): Promise<void> {
    const source = `deb [arch=${ARCHITECTURE} signed-by=${KEYRING}] ${this.#mirror} ${SUITE} main\n`
    writeFileSync(join(this.#directory, 'sources.list'), source)
    writeFileSync(join(this.#directory, 'status'), packageDatabase(requested))
    writeFileSync(join(this.#directory, 'apt.conf'), aptConfiguration(this.#directory, await hostSettings()))
  }

  #run(parameters: readonly string[], onPercent?: OnPercent): Promise<CommandResult> {
    return runCommand('apt-get', ['-q', '-o', 'APT::Status-Fd=3', ...parameters], {
      environment: { APT_CONFIG: join(this.#directory, 'apt.conf'), DEBIAN_FRONTEND: 'noninteractive' },
      onStatusLine: (line) => {
        const percent = /^dlstatus:\d+:([\d.]+):/.exec(line)
        if (percent !== null) onPercent?.(Math.min(100, Math.floor(Number(percent[1]))))
      },
    })
  }

  #updateError(result: CommandResult): UserError {
    const { stderr } = result
    if (/NO_PUBKEY|not signed|EXPKEYSIG|BADSIG|is expired/.test(stderr)) {
      return new UserError(
        `the package index at ${this.#mirror} is not signed by a key in ${KEYRING}: ` +
          `update debian-archive-keyring (${firstComplaint(stderr)})`,
      )
    }
    return this.#downloadError(result)
  }

  #resolveError(result: CommandResult): UserError {
    const unknown = [
      ...result.stderr.matchAll(/Unable to locate package (\S+)/g),
      ...result.stderr.matchAll(/Package '?([^'\s]+)'? has no installation candidate/g),
      ...result.stderr.matchAll(/Version '\S+' for '(\S+)' was not found/g),
    ].map((match) => match[1]!)
    if (unknown.length > 0) {
      return new UserError(
        `Debian ${SUITE} has no package ${[...new Set(unknown)].join(', ')} for ${ARCHITECTURE}`,
      )
    }
    const unmet = /^ (\S+ : .*)$/m.exec(result.stdout.toString())
    if (unmet !== null)
      return new UserError(`these packages do not go together: ${unmet[1]!.replace(/\s+/g, ' ')}`)
    return commandError('apt-get', result)
  }

  #downloadError(result: CommandResult): UserError {
    const { stderr } = result
    if (/No space left on device|enough free space/i.test(stderr)) return diskFullError()
    if (/Could not get lock/.test(stderr)) {
      return new UserError('another image is being built with the same package cache: wait until it is ready')
    }
    if (/Failed to fetch|Release file/.test(stderr)) {
      return new UserError(`cannot fetch from the mirror ${this.#mirror}: ${firstComplaint(stderr)}`)
    }
    return commandError('apt-get', result)
  }
}

function firstComplaint(stderr: string): string {
  const line = stderr.split('\n').find((candidate) => /^[EW]: /.test(candidate)) ?? stderr.trim()
  return line.replace(/^[EW]: /, '').replace(/\s+/g, ' ')
}

function aptConfiguration(directory: string, settings: string): string {
  const netrc = existsSync('/etc/apt/auth.conf') ? '/etc/apt/auth.conf' : '/dev/null'
  return `${settings}
Dir "${directory}";
Dir::Etc "${directory}/etc";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::netrc "${netrc}";
Dir::Etc::sourcelist "${directory}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::trusted "/dev/null";
Dir::Etc::trustedparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "${directory}/state";
Dir::State::lists "${directory}/lists";
Dir::State::status "${directory}/status";
Dir::Cache "${directory}";
Dir::Cache::archives "${directory}/archives";
Dir::Log "${directory}/log";
APT::Architecture "${ARCHITECTURE}";
APT::Architectures { "${ARCHITECTURE}"; };
APT::Sandbox::User "";
APT::Install-Recommends "false";
APT::Keep-Downloaded-Packages "true";
Acquire::Languages "none";
Acquire::PDiffs "false";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
`
}

/** The machine's own settings for reaching mirrors, in the syntax of apt.conf(5). */
async function hostSettings(): Promise<string> {
  const dump = await requireCommand('apt-config', ['dump'])
  const wanted = /^Acquire::(https?|Check-Valid-Until|Check-Date|ForceIPv[46])\b.*";$/
  return dump
    .toString()
    .split('\n')
    .filter((line) => wanted.test(line))
    .join('\n')
}
