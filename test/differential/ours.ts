/** Our machine as a subject: the board for bare programs, with the image as its only segment. */
import { BareComputer } from '../../src/board/bare.ts'
import { nodeEngine } from '../../src/host/engine.ts'
import { RAM, RAM_BYTES } from './layout.ts'
import type { Subject } from './subject.ts'

export const understudy: Subject = {
  name: 'Understudy',
  run(image, steps, areas) {
    const computer = new BareComputer({
      engine: nodeEngine,
      name: 'test program',
      ramBytes: RAM_BYTES,
      print: () => {},
      elf: {
        kind: 'executable',
        entry: BigInt(RAM),
        segments: [{ address: RAM, bytes: image, memoryBytes: image.length }],
        code: [],
        symbols: [],
      },
    })
    const end = computer.run(BigInt(steps))
    if (end.kind !== 'exit') {
      const pc = computer.machine.harts[0]!.get64('pc').toString(16)
      throw new Error(`the program does not end within ${steps} steps on our machine; its pc is 0x${pc}`)
    }
    return areas.map(({ address, length }) => computer.machine.ram.read(address, length))
  },
}
