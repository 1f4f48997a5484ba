/**
 * TAP interfaces of Linux: Ethernet frames between an interface of the system and whoever holds it open.
 *
 * Two calls that this takes, `ioctl` and `poll`, are missing in Node. They come from koffi, an optional dependency that
 * is loaded when the first TAP is opened, and at no other time.
 */
import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { endianness } from 'node:os'
import { UserError } from '../base/errors.ts'
import { fileError, systemErrorCode } from './file_error.ts'
import { type Koffi, loadKoffi } from './system_library.ts'

const CLONE_PATH = '/dev/net/tun'

/** What the kernel's headers call these (linux/if_tun.h, poll.h). */
const TUNSETIFF = 0x400454ca
const IFF_TAP = 0x0002
const IFF_NO_PI = 0x1000
const POLLIN = 1

/** struct ifreq: a name of 16 bytes, and the flags in the first two of what follows. */
const IFREQ_BYTES = 40
const IFREQ_FLAGS = 16
const NAME_BYTES_MAX = 15
/** struct pollfd: the descriptor, what is waited for, what has come. */
const POLLFD_BYTES = 8

interface SystemCalls {
  readonly ioctl: (descriptor: number, request: number, type: 'void *', argument: Uint8Array) => number
  readonly poll: (descriptors: Uint8Array, count: number, timeoutMs: number) => number
  readonly read: (descriptor: number, buffer: Uint8Array, bytes: number) => number
  readonly interfaceIndex: (name: string) => number
  /** The name of the last call's error, such as EBUSY. */
  readonly error: () => string
}

let loaded: SystemCalls | undefined

function systemCalls(): SystemCalls {
  loaded ??= loadSystemCalls()
  return loaded
}

function loadSystemCalls(): SystemCalls {
  if (process.platform !== 'linux') throw new UserError('TAP interfaces are there on Linux only: use stream')
  const koffi = koffiForTap()
  const library = koffi.load(null)
  const names = new Map(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]))
  return {
    ioctl: library.func('int ioctl(int descriptor, unsigned long request, ...)'),
    poll: library.func('int poll(void *descriptors, unsigned long count, int timeoutMs)'),
    read: library.func('long read(int descriptor, void *buffer, unsigned long bytes)'),
    interfaceIndex: library.func('unsigned int if_nametoindex(const char *name)'),
    error: () => names.get(koffi.errno()) ?? `error ${koffi.errno()}`,
  }
}

function koffiForTap(): Koffi {
  try {
    return loadKoffi()
  } catch (error) {
    const why = (error as Error).message.split('\n')[0]!
    throw new UserError(`TAP interfaces need the package koffi: run npm install koffi (${why})`)
  }
}

/** Somebody else has the interface open at the moment. */
export class TapBusyError extends UserError {
  override readonly name = 'TapBusyError'
}

/** Whether `name` can be an interface's: the kernel cuts longer ones short, and takes % for a pattern. */
export function isInterfaceName(name: string): boolean {
  return (
    /^[!-~]+$/.test(name) && !/[/:%]/.test(name) && name.length <= NAME_BYTES_MAX && !/^\.\.?$/.test(name)
  )
}

/**
 * Takes an interface that is there: its descriptor, which never blocks. Throws a TapBusyError if another process has
 * it, a UserError if it is missing, is no TAP, or may not be opened.
 */
export function openTap(name: string): number {
  if (!isInterfaceName(name)) throw new UserError(`'${name}' cannot be the name of a network interface`)
  const calls = systemCalls()
  // Else the kernel would make one that is connected to nothing.
  if (calls.interfaceIndex(name) === 0) {
    throw new UserError(`there is no interface ${name}: make it by ip tuntap add dev ${name} mode tap`)
  }
  const descriptor = openClone()
  const { code } = tryAttach(descriptor, name, calls)
  if (code === undefined) return descriptor
  closeSync(descriptor)
  throw attachError(name, code)
}

function openClone(): number {
  try {
    return openSync(CLONE_PATH, constants.O_RDWR | constants.O_NONBLOCK)
  } catch (error) {
    throw fileError(error, 'open', CLONE_PATH)
  }
}

function tryAttach(descriptor: number, name: string, calls: SystemCalls): { readonly code?: string } {
  const request = new Uint8Array(IFREQ_BYTES)
  request.set(Buffer.from(name, 'latin1'))
  request.set(new Uint8Array(Uint16Array.of(IFF_TAP | IFF_NO_PI).buffer), IFREQ_FLAGS)
  if (calls.ioctl(descriptor, TUNSETIFF, 'void *', request) === 0) return {}
  return { code: calls.error() }
}

function attachError(name: string, code: string): UserError {
  switch (code) {
    case 'EBUSY':
      return new TapBusyError(`interface ${name} is in use by another process`)
    case 'EPERM':
      return new UserError(
        `interface ${name} may not be used: make it for this user (ip tuntap add ... user NAME), or run with CAP_NET_ADMIN`,
      )
    case 'EINVAL':
      return new UserError(
        `interface ${name} is no plain TAP: make one by ip tuntap add dev NAME mode tap, without multi_queue`,
      )
    default:
      return new UserError(`interface ${name} cannot be used: the system reports ${code}`)
  }
}

/** Throws a UserError if an interface could not be taken even when nobody else has it. */
export function checkTap(name: string): void {
  try {
    closeSync(openTap(name))
  } catch (error) {
    if (!(error instanceof TapBusyError)) throw error
  }
}

/** Puts a frame out, or loses it, as on any network: where there is no room, and while the interface is down. */
export function writeTap(descriptor: number, frame: Uint8Array): boolean {
  try {
    return writeSync(descriptor, frame) === frame.length
  } catch (error) {
    if (systemErrorCode(error) === undefined) throw error
    return false
  }
}

/** Frames from an interface, for one thread. `wait` says "gone" when the interface was removed. */
export class TapReader {
  readonly #calls = systemCalls()
  readonly #descriptor: number
  readonly #poll = new Uint8Array(POLLFD_BYTES)
  readonly #pollView = new DataView(this.#poll.buffer)
  readonly #buffer: Uint8Array

  constructor(descriptor: number, frameBytesMax: number) {
    this.#descriptor = descriptor
    this.#buffer = new Uint8Array(frameBytesMax)
    const isLittle = endianness() === 'LE'
    this.#pollView.setInt32(0, descriptor, isLittle)
    this.#pollView.setInt16(4, POLLIN, isLittle)
  }

  /** Waits until there is a frame. */
  wait(timeoutMs: number): 'frame' | 'none' | 'gone' {
    const count = this.#calls.poll(this.#poll, 1, timeoutMs)
    if (count <= 0) return 'none'
    const came = this.#pollView.getInt16(6, endianness() === 'LE')
    return (came & POLLIN) === 0 ? 'gone' : 'frame'
  }

  /** The next frame, in memory that the next call uses again; undefined if there is none. */
  read(): Uint8Array | undefined {
    const bytes = this.#calls.read(this.#descriptor, this.#buffer, this.#buffer.length)
    return bytes > 0 ? this.#buffer.subarray(0, bytes) : undefined
  }
}
