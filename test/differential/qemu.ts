/**
 * QEMU as a subject. Its RAM is a shared file, in which the image is written before and the areas are read
 * afterwards; the program ends QEMU through the board's test device. So nothing has to be waited for or asked.
 */
import { spawnSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RAM, RAM_BYTES } from './layout.ts'
import type { Area, Subject } from './subject.ts'

const PROGRAM = 'qemu-system-riscv64'
const TIMEOUT_MS = 60_000

/**
 * With a second hart, which the program parks, QEMU's AMOs are atomic stores; with one it takes them for a load and a
 * store, and reports their faults as those of a load.
 */
const HARTS = ['-smp', '2', '-accel', 'tcg,thread=multi']

/** Extensions that ours has not are off; what we have beyond these is on by default. */
const CPU = 'rv64,zba=on,zbb=on,zbs=on,zbc=off,h=off,v=off,sstc=off,debug=off,pmu-num=0'

/** Why QEMU cannot be used here, or undefined. */
export function qemuMissing(): string | undefined {
  const { error, status } = spawnSync(PROGRAM, ['--version'], { encoding: 'utf8' })
  if (error === undefined && status === 0) return undefined
  return `${PROGRAM} does not run here; install it (Debian: qemu-system-misc)`
}

export const qemu: Subject = {
  name: 'QEMU',
  run(image, _steps, areas) {
    const directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'understudy-'))
    const file = openSync(join(directory, 'ram'), 'w+')
    try {
      writeSync(file, image)
      ftruncateSync(file, RAM_BYTES)
      runQemu(join(directory, 'ram'))
      return areas.map((area) => readArea(file, area))
    } finally {
      closeSync(file)
      rmSync(directory, { recursive: true })
    }
  },
}

function runQemu(ram: string): void {
  const backend = `memory-backend-file,id=ram,size=${RAM_BYTES},mem-path=${ram},share=on`
  const options = [
    '-machine',
    'virt,memory-backend=ram',
    '-m',
    `${RAM_BYTES >> 20}M`,
    '-object',
    backend,
    ...HARTS,
  ]
  const silent = ['-bios', 'none', '-display', 'none', '-nodefaults', '-serial', 'none', '-monitor', 'none']
  const { error, status, stderr } = spawnSync(PROGRAM, [...options, '-cpu', CPU, ...silent], {
    encoding: 'utf8',
    timeout: TIMEOUT_MS,
  })
  if (error !== undefined) throw new Error(`${PROGRAM}: ${error.message}`)
  if (status !== 0) throw new Error(`${PROGRAM} ended with status ${status}: ${stderr}`)
}

function readArea(file: number, { address, length }: Area): Uint8Array {
  const bytes = new Uint8Array(length)
  const read = readSync(file, bytes, 0, length, address - RAM)
  if (read !== length) throw new Error(`the RAM file is cut off at ${address + read}`)
  return bytes
}
