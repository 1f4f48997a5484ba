/**
 * The demo's machine, with the image that it needs. The first demo boots it and saves it as soon as it serves; each later
 * one makes it anew from there, which takes a second or two. So nothing of one demo is left in the next.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { UserError } from '../base/errors.ts'
import { imageNames, openImage, type StoredImage } from '../image/store.ts'
import { isFreePort, nextFreePort } from '../node/host/loopback_ports.ts'
import { Pair } from '../node/host/pair.ts'
import { PairControl } from '../node/host/pair_control.ts'
import { isSupervised } from '../node/host/pair_processes.ts'
import { endLeftOver } from '../node/host/pair_run.ts'
import type { DemoOptions } from './demo.ts'
import { tell } from './failure.ts'
import { buildWithProgress } from './image.ts'
import { imageFiles } from './image_files.ts'
import { machinesDirectory } from './machines.ts'

const IMAGE = 'demo'
const PACKAGE = 'redis-server'
const DISK_SIZE = '512M'
const RAM_BYTES = 256 * 2 ** 20
export const REDIS_PORT = 6379

export interface DemoMachine {
  readonly pair: Pair
  /** Where Redis is reached on this computer. */
  readonly port: number
  /** Where it is to be saved when it serves for the first time; undefined if that has been done. */
  readonly saveTo: string | undefined
}

/** Throws a UserError if it cannot be had. */
export async function demoMachine(options: DemoOptions): Promise<DemoMachine> {
  const { name } = options
  const known = Pair.exists(machinesDirectory(), name) ? Pair.open(machinesDirectory(), name) : undefined
  const image = await findOrBuild(known?.file.image ?? options.image ?? IMAGE)
  if (known === undefined) return create(name, image, await choosePort(options.port))
  if (options.image !== undefined && options.image !== known.file.image)
    throw new UserError(`machine ${name} runs image ${known.file.image}: give another --name`)
  if (known.file.gateway === undefined)
    throw new UserError(`machine ${name} is not of a demo: it has no gateway`)
  await requireStopped(known)
  // A demo that was killed has left its machine running: no other gateway gets its port, and its state is about to go.
  await endLeftOver(known, await PairControl.open(known))
  const port = await choosePort(options.port, portOf(known))
  const saved = savedIn(known)
  if (existsSync(saved)) {
    try {
      return await createAnew(known, image, port, saved)
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      tell(`${error.message}; the machine boots`)
      return create(name, image, port)
    }
  }
  await known.changeForwards([forward(port)])
  return { pair: known, port, saveTo: saved }
}

const savedIn = (pair: Pair): string => join(pair.directory, 'first-boot.snap')

async function requireStopped(pair: Pair): Promise<void> {
  if (await isSupervised(pair))
    throw new UserError(`machine ${pair.name} runs already: see understudy status ${pair.name}`)
}

/** In place of a machine, another one that begins where that was saved. */
async function createAnew(
  known: Pair,
  image: StoredImage,
  port: number,
  saved: string,
): Promise<DemoMachine> {
  await known.removeState()
  const { pair } = await create(known.name, image, port, saved)
  return { pair, port, saveTo: undefined }
}

const forward = (port: number): string => `127.0.0.1:${port}:${REDIS_PORT}`

/** The port that the machine had the last time. */
function portOf({ file }: Pair): number | undefined {
  const match = /:(\d+):\d+$/.exec(file.gateway?.forwards[0] ?? '')
  return match === null ? undefined : Number(match[1])
}

/** The one that is asked for, which must be free; else the one used before, or the usual one, or the next. */
async function choosePort(wanted: number | undefined, known?: number): Promise<number> {
  if (wanted !== undefined) {
    if (await isFreePort(wanted)) return wanted
    throw new UserError(`port ${wanted} of 127.0.0.1 is in use: give another --port, or none`)
  }
  if (known !== undefined && (await isFreePort(known))) return known
  return nextFreePort(REDIS_PORT)
}

async function create(
  name: string,
  image: StoredImage,
  port: number,
  firstSnapshot?: string,
): Promise<DemoMachine> {
  const pair = await Pair.create(machinesDirectory(), {
    ...{ name, image: imageFiles(image), commandLine: image.manifest.commandLine, settings: {} },
    ...{ ramBytes: RAM_BYTES, harts: 1, forwards: [forward(port)] },
    ...(firstSnapshot === undefined ? {} : { firstSnapshot }),
  })
  return { pair, port, saveTo: savedIn(pair) }
}

async function findOrBuild(name: string): Promise<StoredImage> {
  if (name === IMAGE && !imageNames().includes(name)) {
    tell(`building image ${name}, Debian with Redis (once; this takes a minute or two)`)
    return buildWithProgress({ name, packages: [PACKAGE], size: DISK_SIZE })
  }
  const image = openImage(name)
  if (image.manifest.packages.some((one) => one.name === PACKAGE)) return image
  throw new UserError(`image ${name} has no ${PACKAGE}: build one with --packages ${PACKAGE}`)
}
