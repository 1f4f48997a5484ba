/** etcd servers for tests: on free ports of the loopback, with their data in a temporary directory. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { until } from './ask.ts'

export interface EtcdSetting {
  readonly directory: string
  readonly name?: string
  readonly clientPort: number
  readonly peerPort: number
  /** `name=peer URL,...` of all members; by default this one alone. */
  readonly cluster?: string
  readonly token?: string
  /** Files; the server then speaks HTTPS and wants certificates of its clients. */
  readonly tls?: { readonly ca: string; readonly certificate: string; readonly key: string }
}

export class EtcdProcess {
  readonly setting: EtcdSetting
  #child: ChildProcess | undefined
  #output = ''

  constructor(setting: EtcdSetting) {
    this.setting = setting
  }

  get url(): string {
    return `${this.setting.tls === undefined ? 'http' : 'https'}://127.0.0.1:${this.setting.clientPort}`
  }

  /** Starts it, with the data that there are, and by default waits until it answers. */
  async start(): Promise<void> {
    this.launch()
    await until(async () => ((await this.#isHealthy()) ? true : undefined))
  }

  launch(): void {
    this.#output = ''
    const child = spawn('etcd', this.#options(), { stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (bytes: Buffer) => {
        this.#output = (this.#output + bytes.toString()).slice(-4000)
      })
    }
    this.#child = child
  }

  /** Ends it as a power cut would. */
  async kill(): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (child === undefined || child.exitCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }

  #options(): readonly string[] {
    const { directory, name = 'alone', peerPort, cluster, token = 'test', tls } = this.setting
    const peer = `http://127.0.0.1:${peerPort}`
    return [
      ...['--name', name, '--data-dir', join(directory, name)],
      ...['--listen-client-urls', this.url, '--advertise-client-urls', this.url],
      ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
      ...['--initial-cluster', cluster ?? `${name}=${peer}`, '--initial-cluster-token', token],
      ...(tls === undefined ? [] : ['--cert-file', tls.certificate, '--key-file', tls.key]),
      ...(tls === undefined ? [] : ['--trusted-ca-file', tls.ca, '--client-cert-auth']),
      ...[
        '--heartbeat-interval',
        '50',
        '--election-timeout',
        '500',
        '--logger',
        'zap',
        '--log-level',
        'error',
      ],
    ]
  }

  /** Whether it takes part in a cluster that has a leader. */
  async #isHealthy(): Promise<boolean> {
    if (this.#child === undefined || this.#child.exitCode !== null)
      throw new Error(`etcd ended: ${this.#output}`)
    // With certificates demanded, an open port has to do.
    if (this.setting.tls !== undefined) return (await canConnect(this.url)) && true
    return post(`${this.url}/v3/kv/range`, { key: 'AA==' }).then(
      ({ status, body }) => status === 200 || /user name is empty/.test(body),
      () => false,
    )
  }
}

async function canConnect(url: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const request = httpsRequest(url, { rejectUnauthorized: false })
  request.on('error', (error) => resolve(!/ECONNREFUSED/.test(error.message)))
  request.on('response', (response) => resolve(response.resume() !== undefined))
  request.end()
  return promise
}

/** A call of etcd's gateway, for what the arbiter does not do itself. */
export function post(
  url: string,
  body: object,
  headers: Readonly<Record<string, string>> = {},
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { method: 'POST', timeout: 2000, headers }, async (response) => {
      let text = ''
      for await (const chunk of response) text += chunk
      resolve({ status: response.statusCode ?? 0, body: text })
    })
    request.on('timeout', () => request.destroy(new Error('timeout')))
    request.on('error', reject)
    request.end(JSON.stringify(body))
  })
}

/** Ports that nobody listens on now. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer())
  const ports = await Promise.all(
    servers.map(async (server) => {
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      return (server.address() as { port: number }).port
    }),
  )
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

/** A certificate authority, and certificates of it for 127.0.0.1, as files in a directory. */
export function makeCertificates(directory: string, authority: string, names: readonly string[]): void {
  const openssl = (...parameters: string[]): void => {
    const { status, stderr } = spawnSync('openssl', parameters, { cwd: directory, encoding: 'utf8' })
    if (status !== 0) throw new Error(`openssl ${parameters.join(' ')}: ${stderr}`)
  }
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  openssl(
    'req',
    '-x509',
    ...key,
    '-keyout',
    `${authority}.key`,
    '-out',
    `${authority}.pem`,
    '-subj',
    `/CN=${authority}`,
  )
  for (const name of names) {
    openssl('req', ...key, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`)
    const extensions = join(directory, `${name}.ext`)
    spawnSync('sh', ['-c', `echo subjectAltName=IP:127.0.0.1 >"$1"`, 'sh', extensions])
    const sign = [
      '-CA',
      `${authority}.pem`,
      '-CAkey',
      `${authority}.key`,
      '-CAcreateserial',
      '-extfile',
      extensions,
    ]
    openssl('x509', '-req', '-in', `${name}.csr`, '-out', `${name}.pem`, ...sign)
  }
}
