/**
 * `understudy host`: one process of one machine at this host. Everything it needs is opened here, in order, and given
 * to the machine's process (replica/machine_process.ts), which does the work.
 */
import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { assert } from '../../base/assert.ts'
import { BaseImage } from '../../host/base_image.ts'
import { ControlServer } from '../../host/control_server.ts'
import { type Heartbeat, startHeartbeat } from '../../host/heartbeat.ts'
import { MachineProgress } from '../../host/heartbeat_memory.ts'
import type { MachineDirectory } from '../../host/machine_directory.ts'
import { MachineDirectory as Directory } from '../../host/machine_directory.ts'
import { openArbiter } from '../../host/open_arbiter.ts'
import type { OverlayDisk } from '../../host/overlay_disk.ts'
import { randomIdentity } from '../../host/overlay_files.ts'
import { type Credentials, openCredentials } from '../../host/secure_credentials.ts'
import { dialSecure } from '../../host/secure_dial.ts'
import type { Hello, Terms } from '../../host/secure_handshake.ts'
import { listenSecure, type SecureListener } from '../../host/secure_listener.ts'
import { StorageProof } from '../../host/storage_proof.ts'
import type { Protection } from '../../replication/protection.ts'
import { checkSettings } from '../../replication/settings.ts'
import { digestsOf, type ImageFiles } from '../boot_files.ts'
import { requireSameFiles } from '../machine_record.ts'
import { type DialEvents, MachineProcess } from '../replica/machine_process.ts'
import type { FirstState } from '../replica/replica.ts'
import { controlMethods } from './control_methods.ts'
import { createFromSnapshot, dropFirstState, firstState, loadState } from './first_state.ts'
import { type HostConfig, settingsOf } from './host_config.ts'
import { hostMetrics } from './host_metrics.ts'
import { type MachineFile, machineDigest, readMachineFile } from './machine_file.ts'
import { type MetricsServer, serveMetrics } from './metrics_server.ts'
import { openNetwork } from './networks.ts'
import { softwareBuild } from './software_build.ts'

export interface HostOptions {
  /** Finds the files of an image by its name. */
  readonly findImage: (name: string) => ImageFiles
  /** Whether a machine that was stopped is started again. */
  readonly mayRestart: boolean
  /** The operator's word that the recorded backup is dead, or that its data may be lost. */
  readonly isForced: boolean
  readonly onNotice: (text: string) => void
}

/** Why a host's process has ended. */
export interface HostEnd {
  /** Whether the machine has ended in order: then there is nothing to start again. */
  readonly isStopped: boolean
  readonly reason: string
  /** Whether it waited in vain for what it had still to close: a disk that hangs. Only a signal ends such a process. */
  readonly isStuck?: boolean
}

/** How long what is open may take to close where the disk hangs already; else a disk with much to sync has its own limit. */
const HANGING_CLOSE_MS = 1000
/** How long what was sent last may take to leave. */
const FAREWELL_MS = 200
const LOOK_MS = 50
/** A dial that is cut off is repeated after 5, 10, 20 and 40 ms. */
const CUT_RETRY_MS = 5
const CUT_RETRY_MAX_MS = 40

export interface RunningHost {
  /** Resolves when the member has ended. */
  readonly ended: Promise<HostEnd>
  readonly protection: Protection
  /** Whether a request to its disk has run for longer than it may. */
  readonly isDiskHanging: boolean
  close(): Promise<void>
}

/** Starts one, which has to be closed. Throws a UserError if it cannot start. */
export function openHost(config: HostConfig, options: HostOptions): Promise<RunningHost> {
  return Host.open(config, options)
}

/** Runs until the member ends. Throws a UserError if it cannot start. */
export async function runHost(config: HostConfig, options: HostOptions): Promise<HostEnd> {
  const host = await openHost(config, options)
  const end = await host.ended
  const closeMs = host.isDiskHanging ? HANGING_CLOSE_MS : settingsOf(config.settings).diskLimitMs
  const isClosed = await Promise.race([host.close().then(() => true), sleep(closeMs, false)])
  return isClosed ? end : { ...end, isStuck: true }
}

interface HostParts {
  readonly config: HostConfig
  readonly options: HostOptions
  readonly file: MachineFile
  readonly base: BaseImage
  readonly directory: MachineDirectory
  readonly disk: OverlayDisk | undefined
  readonly credentials: Credentials
}

class Host implements RunningHost {
  readonly ended: Promise<HostEnd>
  readonly #parts: HostParts
  #end!: (end: HostEnd) => void
  #process: MachineProcess | undefined
  #listener: SecureListener | undefined
  #control: ControlServer | undefined
  #metrics: MetricsServer | undefined
  #heartbeat: Heartbeat | undefined
  #proof: StorageProof | undefined
  #looking: NodeJS.Timeout | undefined

  private constructor(parts: HostParts) {
    this.#parts = parts
    this.ended = new Promise((resolve) => {
      this.#end = resolve
    })
  }

  static async open(config: HostConfig, options: HostOptions): Promise<Host> {
    checkSettings(settingsOf(config.settings))
    const file = readMachineFile(config.machineFile)
    const image = options.findImage(file.record.image)
    const base = await BaseImage.open(image.disk)
    requireSameFiles(file.record, digestsOf(image, base), `machine ${file.name}`)
    const credentials = await openCredentials(config.credentials)
    const directory = await Directory.open(config.directory, config.machine, options.onNotice)
    let generation = await directory.diskGeneration(base)
    if (generation === undefined && config.mayCreate) {
      generation = randomIdentity()
      if (config.firstSnapshot === undefined) await (await directory.createDisk(base, generation)).close()
      else await createFromSnapshot(directory, base, config.firstSnapshot, generation)
    }
    const disk = generation === undefined ? undefined : await directory.openDisk(base)
    const host = new Host({ config, options, file, base, directory, disk, credentials })
    try {
      await host.#start(image)
    } catch (error) {
      await host.close()
      throw error
    }
    return host
  }

  get protection(): Protection {
    assert(this.#process !== undefined, 'a host that was closed')
    return this.#process.member.protection()
  }

  get isDiskHanging(): boolean {
    return this.#process?.replica.isDiskHanging === true
  }

  async close(): Promise<void> {
    clearInterval(this.#looking)
    this.#control?.close()
    await this.#metrics?.close()
    await this.#heartbeat?.close()
    this.#proof?.close()
    const machine = this.#process
    // Channels whose peer is still being looked at have nobody to go to any more.
    this.#process = undefined
    // Before the disk, which may hang: whoever dials this process is to hear at once that it is gone.
    const listening = this.#listener?.close()
    if (machine === undefined) await this.#parts.disk?.close()
    await machine?.end()
    await listening
    await this.#parts.base.close()
    await this.#parts.directory.close()
  }

  async #start(image: ImageFiles): Promise<void> {
    const { config, options, directory, credentials } = this.#parts
    const past = await directory.arbiterPast()
    const { arbiter, storage } = await openArbiter(config.arbiter, config.machine, { past })
    this.#proof = new StorageProof(storage, config.host, options.onNotice)
    await this.#proof.open()
    const { disk, file, base } = this.#parts
    const { specification, kernel, initramfs } = file.record
    const network = openNetwork(config, specification, credentials, options.onNotice)
    const settings = settingsOf(config.settings)
    const { recordingDirectory } = config
    const snapshot = disk && firstState(directory, disk.generation)
    const progress = new MachineProgress()
    const thread = {
      ...{ specification, image, kernelDigest: kernel, initramfsDigest: initramfs },
      ...{ progress, flushMs: settings.flushMs },
      translation: config.translates === false ? ('off' as const) : ('hot' as const),
    }
    this.#heartbeat = await startHeartbeat({
      ...{ credentials: config.credentials, name: config.host, host: config.listen.host },
      ...{ port: config.heartbeatPort ?? 0, terms: { machine: config.machine } },
      ...{ heartbeatMs: settings.heartbeatMs, stallMs: settings.stallMs },
      ...{ progress, onNotice: options.onNotice },
    })
    // Whoever cannot be reached must not take part.
    this.#listener = await this.#listen()
    this.#process = new MachineProcess({
      ...{ machine: config.machine, host: config.host, incarnation: randomBytes(16).toString('hex') },
      ...{ diskGeneration: disk?.generation, joinGeneration: randomIdentity(), settings },
      ...{ mayCreate: config.mayCreate, mayRestart: options.mayRestart, force: options.isForced },
      ...{ arbiter, network, onNotice: options.onNotice },
      dial: (name, events) => this.#dial(name, events),
      heardFrom: (name) => this.#heartbeat?.peer(name),
      replica: {
        ...{ thread, directory, base, disk, onNotice: options.onNotice },
        ...(snapshot === undefined ? {} : { first: this.#firstState(snapshot) }),
        ...(recordingDirectory === undefined
          ? {}
          : { recording: { directory: recordingDirectory, machine: file.record } }),
        onFailed: (message) => this.#onEnd({ isStopped: false, reason: message }),
      },
      onHalted: (reason) => this.#onHalted(reason),
    })
    const controlled = { process: this.#process, config, record: file.record }
    const methods = controlMethods(controlled)
    this.#control = new ControlServer(methods, options.onNotice)
    if (config.metricsPort !== undefined && config.metricsPort !== 0)
      this.#metrics = await serveMetrics(config.metricsPort, hostMetrics(controlled), options.onNotice)
    this.#looking = setInterval(() => this.#lookForEnd(), LOOK_MS)
  }

  #firstState(snapshot: string): FirstState {
    const { directory } = this.#parts
    return {
      load: (onPage) => loadState(snapshot, onPage),
      drop: () => dropFirstState(directory),
    }
  }

  #listen(): Promise<SecureListener> {
    const { config, credentials, options } = this.#parts
    return listenSecure({
      ...{ credentials, name: config.host, ...config.listen, onNotice: options.onNotice },
      onRefused: (name, service, reason) => {
        if (service === 'replication' && Object.hasOwn(config.peers, name))
          this.#process?.onRefusal(name, reason)
      },
      services: {
        replication: {
          terms: () => this.#terms(),
          info: () => ({ heartbeatPort: `${this.#heartbeat!.port}`, ...this.#proof!.info }),
          check: (hello) => this.#refusal(hello),
          // While the process starts or ends, there is nobody to talk to.
          accept: (stream: Duplex, peer) => {
            if (this.#process === undefined) stream.destroy()
            else this.#process.accept(stream, peer.name)
          },
        },
        control: {
          terms: () => ({ machine: config.machine }),
          accept: (stream: Duplex, peer) =>
            void (this.#control?.accept(stream, peer.name) ?? stream.destroy()),
        },
      },
    })
  }

  /** Only hosts that may have a copy, and decide where this one does, get a channel; to know the secret is not enough. */
  async #refusal({ from, info }: Hello): Promise<string | undefined> {
    if (Object.hasOwn(this.#parts.config.peers, from)) return this.#proof!.problem(from, info)
    return `${from} is none of the hosts of this machine`
  }

  /** What both copies must have alike. */
  #terms(): Record<string, string> {
    const { config, file } = this.#parts
    const { kernel, initramfs, disk } = file.record
    const [kernelTerm, initramfsTerm, diskTerm] = [kernel, initramfs, disk].map((text) => text.slice(0, 16))
    return {
      machine: file.name,
      build: softwareBuild(),
      arbiter: config.arbiter.replace(/:.*/s, ''),
      kernel: kernelTerm!,
      initramfs: initramfsTerm!,
      image: diskTerm!,
      specification: machineDigest(file),
    }
  }

  /**
   * A process that is being killed still listens when its connections are closed already: who is cut off is told
   * nothing until it has tried some more.
   */
  #dial(name: string, events: DialEvents, retryMs = CUT_RETRY_MS): void {
    const { opened, failed } = events
    const { config, credentials } = this.#parts
    const address = config.peers[name]
    if (address === undefined) {
      setImmediate(() => failed(false, `host ${name} is not among the peers of this one`))
      return
    }
    dialSecure(
      {
        ...{ credentials, name: config.host, peerName: name, ...address },
        ...{ service: 'replication', terms: this.#terms(), info: this.#proof!.info },
      },
      {
        opened: async (stream, info) => {
          const problem = await this.#proof!.problem(name, info)
          if (problem === undefined && !stream.destroyed) {
            this.#hearHeartbeats(name, address.host, info)
            return opened(stream)
          }
          stream.destroy()
          failed(false, problem ?? 'the channel was closed as soon as it was open')
        },
        failed: ({ isRefused, isCut, reason }) => {
          if (!isCut || retryMs > CUT_RETRY_MAX_MS) return failed(isRefused, reason)
          setTimeout(() => this.#dial(name, events, retryMs * 2), retryMs)
        },
      },
    )
  }

  #hearHeartbeats(name: string, host: string, { heartbeatPort }: Terms): void {
    const port = Number(heartbeatPort)
    const isPort = Number.isInteger(port) && port > 0 && port < 65_536
    if (isPort) this.#heartbeat!.connect({ name, host, port })
  }

  #onHalted(reason: string): void {
    this.#onEnd({ isStopped: reason === 'stopped', reason })
  }

  /** A machine that was stopped and must not be started again leaves nothing to do. */
  #lookForEnd(): void {
    if (this.#parts.options.mayRestart) return
    assert(this.#process !== undefined, 'a host without a process')
    if (this.#process.member.protection().state === 'stopped')
      this.#onEnd({ isStopped: true, reason: 'the machine is stopped' })
  }

  #onEnd(end: HostEnd): void {
    clearInterval(this.#looking)
    setTimeout(() => this.#end(end), FAREWELL_MS)
  }
}
