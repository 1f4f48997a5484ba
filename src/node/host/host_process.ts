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
import { listenSecure, type SecureListener } from '../../host/secure_listener.ts'
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

/** Runs until the member ends. Throws a UserError if it cannot start. */
export async function runHost(config: HostConfig, options: HostOptions): Promise<HostEnd> {
  const host = await Host.open(config, options)
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

class Host {
  readonly ended: Promise<HostEnd>
  readonly #parts: HostParts
  #end!: (end: HostEnd) => void
  #process: MachineProcess | undefined
  #listener: SecureListener | undefined
  #control: ControlServer | undefined
  #metrics: MetricsServer | undefined
  #heartbeat: Heartbeat | undefined
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

  get isDiskHanging(): boolean {
    return this.#process?.replica.isDiskHanging === true
  }

  async close(): Promise<void> {
    clearInterval(this.#looking)
    this.#control?.close()
    await this.#metrics?.close()
    await this.#heartbeat?.close()
    // Before the disk, which may hang: whoever dials this process is to hear at once that it is gone.
    const listening = this.#listener?.close()
    await this.#process?.end()
    await listening
    await this.#parts.base.close()
    await this.#parts.directory.close()
  }

  async #start(image: ImageFiles): Promise<void> {
    const { config, options, directory, credentials } = this.#parts
    const past = await directory.arbiterPast()
    const { arbiter } = await openArbiter(config.arbiter, config.machine, { past })
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
          info: () => ({ heartbeatPort: `${this.#heartbeat!.port}` }),
          accept: (stream: Duplex, peer) => this.#accept(stream, peer.name),
        },
        control: {
          terms: () => ({ machine: config.machine }),
          // While the process starts, there is nobody to ask.
          accept: (stream: Duplex, peer) =>
            void (this.#control?.accept(stream, peer.name) ?? stream.destroy()),
        },
      },
    })
  }

  /** Only hosts that may have a copy get a channel; to know the secret is not enough. */
  #accept(stream: Duplex, name: string): void {
    const { config, options } = this.#parts
    const isPeer = Object.hasOwn(config.peers, name)
    if (isPeer && this.#process !== undefined) return this.#process.accept(stream, name)
    if (!isPeer) options.onNotice(`${name} is none of the hosts of this machine`)
    stream.destroy()
  }

  /** What both copies must have alike. */
  #terms(): Record<string, string> {
    const { file } = this.#parts
    const { kernel, initramfs, disk } = file.record
    const [kernelTerm, initramfsTerm, diskTerm] = [kernel, initramfs, disk].map((text) => text.slice(0, 16))
    return {
      machine: file.name,
      build: softwareBuild(),
      kernel: kernelTerm!,
      initramfs: initramfsTerm!,
      image: diskTerm!,
      specification: machineDigest(file),
    }
  }

  #dial(name: string, { opened, failed }: DialEvents): void {
    const { config, credentials } = this.#parts
    const address = config.peers[name]
    if (address === undefined) {
      setImmediate(() => failed(false, `host ${name} is not among the peers of this one`))
      return
    }
    dialSecure(
      {
        ...{ credentials, name: config.host, peerName: name, ...address },
        ...{ service: 'replication', terms: this.#terms() },
      },
      {
        opened: (stream, { heartbeatPort }) => {
          const port = Number(heartbeatPort)
          const isPort = Number.isInteger(port) && port > 0 && port < 65_536
          if (isPort) this.#heartbeat!.connect({ name, host: address.host, port })
          opened(stream)
        },
        failed: ({ isRefused, reason }) => failed(isRefused, reason),
      },
    )
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
