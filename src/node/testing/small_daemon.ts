/** A host's daemon in a directory of its own, whose machines' processes are programs of a line. */
import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { HostDaemon } from '../host/host_daemon.ts'
import type { ImageDescription } from '../image_description.ts'

export const SMALL_IMAGE: ImageDescription = {
  ...{ kernel: '1'.repeat(64), initramfs: '2'.repeat(64), disk: '3'.repeat(64) },
  ...{ diskSectors: 2048, commandLine: 'root=/dev/vda' },
}
/** A process that lives on. */
const LIVING = 'setInterval(() => {}, 1000)'

export interface SmallDaemon {
  readonly daemon: HostDaemon
  readonly directory: string
  readonly notices: string[]
}

export interface SmallDaemonOptions {
  readonly name: string
  /** Below which the host's directory and the shared secret are. */
  readonly folder: string
  /** Of a daemon that has been there before. */
  readonly directory?: string
  readonly image?: ImageDescription
  /** Any that is free by default. */
  readonly port?: number
  /** What the process of each machine does. */
  readonly script?: string
}

export async function smallDaemon(options: SmallDaemonOptions): Promise<SmallDaemon> {
  const { name, folder, image = SMALL_IMAGE, script = LIVING, port = 0 } = options
  const directory = options.directory ?? mkdtempSync(join(folder, `${name}-`))
  const notices: string[] = []
  const daemon = await HostDaemon.start({
    ...{ name, directory, secretFile: join(folder, 'secret'), listen: { host: '127.0.0.1', port } },
    program: { command: process.execPath, parameters: ['-e', script, '--'] },
    describeImage: () => Promise.resolve(image),
    onNotice: (text) => notices.push(text),
  })
  return { daemon, directory, notices }
}
