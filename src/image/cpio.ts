/**
 * The archive format of Linux's initial RAM file system: cpio "newc" (Documentation/driver-api/early-userspace/
 * buffer-format.rst in the kernel's sources). Each entry is a header of ASCII hexadecimal fields, the name and the data,
 * both padded to 4 bytes:
 *
 *     "070701" | ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
 *     | name NUL | padding | data | padding          (13 fields of 8 digits; 110 bytes of header)
 *
 * Owners and times are always zero, so equal content gives equal bytes, and a device node needs no privilege.
 */
import { assert } from '../base/assert.ts'

const TYPE_DIRECTORY = 0o040000
const TYPE_FILE = 0o100000
const TYPE_SYMLINK = 0o120000
const TYPE_CHARACTER_DEVICE = 0o020000
const HEADER_BYTES = 110

const encoder = new TextEncoder()

interface Entry {
  readonly name: string
  readonly mode: number
  readonly data: Uint8Array
  readonly major: number
  readonly minor: number
}

/** Collects entries; a directory must be added before what is in it. Names have no slash in front. */
export class CpioWriter {
  readonly #entries: Entry[] = []

  directory(name: string, permissions = 0o755): void {
    this.#add(name, TYPE_DIRECTORY | permissions, new Uint8Array())
  }

  file(name: string, data: Uint8Array, permissions = 0o644): void {
    this.#add(name, TYPE_FILE | permissions, data)
  }

  symlink(name: string, target: string): void {
    this.#add(name, TYPE_SYMLINK | 0o777, encoder.encode(target))
  }

  characterDevice(name: string, major: number, minor: number, permissions = 0o600): void {
    this.#add(name, TYPE_CHARACTER_DEVICE | permissions, new Uint8Array(), major, minor)
  }

  /** The whole archive, with its trailer. */
  finish(): Uint8Array {
    const trailer: Entry = { name: 'TRAILER!!!', mode: 0, data: new Uint8Array(), major: 0, minor: 0 }
    const entries = [...this.#entries, trailer]
    const archive = new Uint8Array(entries.reduce((sum, entry) => sum + entryBytes(entry), 0))
    let position = 0
    entries.forEach((entry, index) => {
      writeEntry(archive.subarray(position), entry, entry === trailer ? 0 : index + 1)
      position += entryBytes(entry)
    })
    return archive
  }

  #add(name: string, mode: number, data: Uint8Array, major = 0, minor = 0): void {
    assert(name !== '' && !name.startsWith('/') && !name.includes('\0'), `not a name for cpio: '${name}'`)
    this.#entries.push({ name, mode, data, major, minor })
  }
}

function entryBytes(entry: Entry): number {
  return aligned(HEADER_BYTES + encoder.encode(entry.name).length + 1) + aligned(entry.data.length)
}

function writeEntry(target: Uint8Array, entry: Entry, inode: number): void {
  const name = encoder.encode(entry.name)
  const linkCount = (entry.mode & 0o170000) === TYPE_DIRECTORY ? 2 : 1
  const device = [0, 0, entry.major, entry.minor]
  const fields = [inode, entry.mode, 0, 0, linkCount, 0, entry.data.length, ...device, name.length + 1, 0]
  target.set(encoder.encode(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`))
  target.set(name, HEADER_BYTES)
  target.set(entry.data, aligned(HEADER_BYTES + name.length + 1))
}

function aligned(length: number): number {
  return (length + 3) & ~3
}
