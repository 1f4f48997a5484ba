/**
 * Computers made of network namespaces. All of them hang on one process, the *holder*: the first of a PID namespace, so
 * that its end ends every process that was started here, and with them goes every namespace and interface. It ends when
 * its standard input does, which is this process's end at the latest. As root no user namespace is needed; anybody else
 * gets one.
 */
import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { lacks } from '../guest_process.ts'

const isRoot = process.getuid?.() === 0
const PATH = `${process.env['PATH']}:/usr/sbin:/sbin`
const END_MS_MAX = 10_000
const NAMESPACES = [...(isRoot ? [] : ['--user', '--map-root-user']), '--net', '--mount', '--pid', '--fork']
/** `ip` keeps names of network namespaces below /run. */
const PRELUDE = 'mount -t tmpfs tmpfs /run; ip link set lo up'

/** Why there can be no such computers here, or false. Root under CI must be able to have them. */
export function lacksNamespaces(): string | false {
  for (const program of ['unshare', 'nsenter', 'ip', 'nft', 'tcpdump', 'etcd']) {
    const reason = lacks(program)
    if (reason !== false) return reason
  }
  const script = `${PRELUDE}; ip netns add t; ip netns exec t ip tuntap add dev tap0 mode tap
    ip netns exec t nft add table inet t; : <>/dev/net/tun`
  const trial = spawnSync('unshare', [...NAMESPACES, '--mount-proc', 'sh', '-ec', script], {
    ...{ env: { ...process.env, PATH }, encoding: 'utf8' },
  })
  if (trial.status === 0) return false
  const reason = `NOT TESTED: no network namespace with a TAP can be made here: ${trial.stderr.trim()}`
  if (process.env['CI'] === 'true' && isRoot) throw new Error(reason)
  console.error(reason)
  return reason
}

export class Namespaces {
  readonly #holder: ChildProcess
  readonly #pid: number
  readonly #onExit = (): boolean => this.#holder.kill('SIGKILL')

  private constructor(holder: ChildProcess, pid: number) {
    this.#holder = holder
    this.#pid = pid
    process.once('exit', this.#onExit)
  }

  /** Makes what `script` says, in a network namespace of its own. */
  static async make(script: string): Promise<Namespaces> {
    const whole = `${PRELUDE}\n${script}\necho made; read -r _ || true`
    const parameters = [...NAMESPACES, '--mount-proc', '--kill-child', 'sh', '-ec', whole]
    const holder = spawn('unshare', parameters, {
      ...{ env: { ...process.env, PATH }, stdio: ['pipe', 'pipe', 'pipe'] },
    })
    let errors = ''
    holder.stderr!.on('data', (bytes: Buffer) => {
      errors += bytes.toString()
    })
    const made = once(holder.stdout!, 'data').then(() => true)
    const isMade = await Promise.race([made, once(holder, 'exit').then(() => false)])
    if (!isMade) throw new Error(`the namespaces cannot be made: ${errors}`)
    return new Namespaces(holder, childOf(holder.pid!)!)
  }

  /** Starts a program in one of them, by name; '' is the one that the others were made from. */
  spawn(namespace: string, command: readonly string[], options: SpawnOptions = {}): ChildProcess {
    const { env = process.env, ...rest } = options
    return spawn('nsenter', this.#words(namespace, command), { ...rest, env: { ...env, PATH } })
  }

  /** Runs a shell script there, which must succeed. */
  run(namespace: string, script: string): string {
    const words = this.#words(namespace, ['sh', '-ec', script])
    const { status, stdout, stderr } = spawnSync('nsenter', words, {
      ...{ env: { ...process.env, PATH }, encoding: 'utf8' },
    })
    if (status !== 0) throw new Error(`${namespace}: ${script}: ${stderr}`)
    return stdout
  }

  /** Ends everything. */
  async end(): Promise<void> {
    process.off('exit', this.#onExit)
    if (this.#holder.exitCode !== null || this.#holder.signalCode !== null) return
    const ended = once(this.#holder, 'exit')
    this.#holder.stdin!.end()
    const timer = globalThis.setTimeout(() => this.#holder.kill('SIGKILL'), END_MS_MAX)
    await ended
    clearTimeout(timer)
  }

  #words(namespace: string, command: readonly string[]): string[] {
    const user = isRoot ? [] : ['--user', '--preserve-credentials']
    const inside = namespace === '' ? [] : ['ip', 'netns', 'exec', namespace]
    return ['--target', `${this.#pid}`, ...user, '--mount', '--pid', '--net', '--', ...inside, ...command]
  }
}

/** Sends a signal to the program that `Namespaces.spawn` has started. */
export function signalInside(child: ChildProcess, signal: NodeJS.Signals): void {
  const pid = childOf(child.pid!)
  if (pid === undefined) return
  process.kill(pid, signal)
  // nsenter stops with its child.
  if (signal === 'SIGCONT') child.kill('SIGCONT')
}

/** Waits until the program has been started. */
export async function startedInside(child: ChildProcess): Promise<void> {
  while (child.exitCode === null && childOf(child.pid!) === undefined) await setTimeout(10)
}

/** Both unshare and nsenter have one child: the program, for which they wait. */
function childOf(pid: number): number | undefined {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
    return children === '' ? undefined : Number(children.split(' ')[0])
  } catch {
    return undefined
  }
}
