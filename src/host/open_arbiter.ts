/**
 * Arbiters by what the user writes:
 *
 *     file:DIR               a directory on storage that both hosts see
 *     etcd:URL[,URL...]      an etcd cluster, by the URLs of its members
 */
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { createSecureContext } from 'node:tls'
import { UserError } from '../base/errors.ts'
import type { Arbiter } from '../replication/arbiter.ts'
import type { ArbiterPast } from './arbiter_memory.ts'
import { checkMachineName } from './decision_record.ts'
import { EtcdArbiter } from './etcd_arbiter.ts'
import type { EtcdLogin, EtcdTls } from './etcd_client.ts'
import { FileArbiter, type SharedStorage } from './file_arbiter.ts'
import { fileError } from './file_error.ts'

export interface ArbiterOptions {
  /** A request not answered by then is 'unreachable': of a directory, or of each member of etcd. 2000 by default. */
  readonly timeoutMs?: number
  readonly etcd?: EtcdOptions
  /** What this host has seen of the arbiter before. */
  readonly past?: ArbiterPast
}

export interface EtcdOptions {
  /** What comes before the machine's name in its key; `/understudy/` by default. */
  readonly prefix?: string
  readonly login?: EtcdLogin
  /** Names of PEM files. */
  readonly caFile?: string
  readonly certificateFile?: string
  readonly keyFile?: string
}

export interface OpenedArbiter {
  readonly arbiter: Arbiter
  /** How two hosts prove that theirs is the same. */
  readonly storage: SharedStorage
}

const TIMEOUT_MS = 2000
const PREFIX = '/understudy/'
const USAGE = 'write file:DIR or etcd:URL[,URL...]'

/** Opens the arbiter of a machine. Nothing is asked of it yet. Throws a UserError if `spec` or the options cannot be. */
export async function openArbiter(
  spec: string,
  machine: string,
  { timeoutMs = TIMEOUT_MS, etcd = {}, past }: ArbiterOptions = {},
): Promise<OpenedArbiter> {
  checkMachineName(machine)
  const [, kind, place = ''] = /^(file|etcd):(.*)$/.exec(spec) ?? []
  if (kind === undefined) throw new UserError(`arbiter '${spec}': ${USAGE}`)
  if (place === '') throw new UserError(`arbiter '${spec}': nothing after the colon: ${USAGE}`)
  if (kind === 'file') {
    const directory = new FileArbiter(resolve(place), machine, timeoutMs, past)
    return { arbiter: directory, storage: directory }
  }
  const endpoints = place.split(',').map((text) => endpoint(text, etcd))
  const { login, prefix = PREFIX } = etcd
  if (!/^[!-~]{1,128}$/.test(prefix))
    throw new UserError(`etcd prefix '${prefix}': not 1 to 128 printable characters`)
  const options = { endpoints, login, timeoutMs, tls: await readTls(etcd) }
  const cluster = new EtcdArbiter(options, prefix, machine, past)
  return { arbiter: cluster, storage: cluster }
}

function endpoint(text: string, { login }: EtcdOptions): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.hostname === '') {
    throw new UserError(`etcd endpoint '${text}': not a URL such as https://10.0.0.1:2379`)
  }
  if (url.username !== '' || url.password !== '') {
    throw new UserError(`etcd endpoint ${url.host}: everybody can read a password here: give it as an option`)
  }
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    throw new UserError(`etcd endpoint '${text}': nothing may follow the port`)
  }
  if (login !== undefined && url.protocol === 'http:' && !isLoopback(url.hostname)) {
    throw new UserError(`etcd endpoint '${text}': a password would travel readably: use https`)
  }
  return url
}

function isLoopback(hostname: string): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname)
}

async function readTls({ caFile, certificateFile, keyFile }: EtcdOptions): Promise<EtcdTls | undefined> {
  if ((certificateFile === undefined) !== (keyFile === undefined)) {
    throw new UserError('etcd: a client certificate and its key go together: name both files or none')
  }
  if (caFile === undefined && certificateFile === undefined) return undefined
  const [ca, certificate, key] = await Promise.all([caFile, certificateFile, keyFile].map(readText))
  try {
    createSecureContext({ ca, cert: certificate, key })
  } catch (error) {
    const names = [caFile, certificateFile, keyFile].filter((name) => name !== undefined).join(', ')
    throw new UserError(
      `etcd certificates (${names}): ${(error as Error).message}: name PEM files that belong together`,
    )
  }
  return { ca, certificate, key }
}

async function readText(path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw fileError(error, 'read', path)
  }
}
