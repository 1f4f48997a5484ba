/**
 * Determinism of the whole machine, with Debian in it: what was recorded happens again however it is executed, and two
 * copies from one snapshot stay equal. Random choices come from a seed that is printed; UNDERSTUDY_SEED repeats one.
 */
import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it, type TestContext } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { hash64 } from '../src/base/hash64.ts'
import { Computer } from '../src/board/computer.ts'
import type { MachineDifference } from '../src/board/witness.ts'
import { GENERATION_BYTES } from '../src/devices/vm_generation.ts'
import { BaseImage } from '../src/host/base_image.ts'
import { nodeEngine } from '../src/host/engine.ts'
import { openFrozenOverlay } from '../src/host/overlay_disk.ts'
import { openImage } from '../src/image/store.ts'
import { GuestProfiler } from '../src/node/profile/guest_profiler.ts'
import { type ReplayOptions, type ReplayResult, replay } from '../src/node/replay.ts'
import { diskBeside } from '../src/node/saved_files.ts'
import { PORT, readHeader, restore, Session } from '../src/node/session.ts'
import { DrivenComputer } from './driven_computer.ts'
import { GuestConsole } from './guest_console.ts'
import { NetworkPeer } from './network_peer.ts'
import { systemImage, testEnvironment } from './system_image.ts'

const MIB = 2 ** 20
const MAC = Uint8Array.of(0x02, 0, 0, 0, 0, 0x15)

const image = await systemImage()
const skip = 'missing' in image ? image.missing : false
const directory = mkdtempSync(join(tmpdir(), 'understudy-determinism-'))
after(() => rmSync(directory, { recursive: true }))

const seed = Number(process.env['UNDERSTUDY_SEED'] ?? randomInt(2 ** 31))
console.error(`seed ${seed} (UNDERSTUDY_SEED=${seed} repeats it)`)
let drawn = 0

/** A whole number from 0 below `limit`, from the seed. */
const random = (limit: number): number => Number(hash64(Uint8Array.of(1), seed + drawn++) % BigInt(limit))

/** A guest in this process, with a shell on its console and a peer on its network. */
class Guest {
  readonly session: Session
  readonly console: GuestConsole
  readonly peer: NetworkPeer
  #running: Promise<unknown> | undefined

  private constructor(session: Session, shell: GuestConsole, peer: NetworkPeer) {
    this.session = session
    this.console = shell
    this.peer = peer
  }

  static async boot(options: {
    readonly harts: number
    readonly record?: string
    readonly translations?: string
  }): Promise<Guest> {
    assert.ok('files' in image)
    const { commandLine } = openImage(image.name, testEnvironment).manifest
    let session: Session | undefined
    const shell = new GuestConsole((bytes) =>
      session!.runner.deliver({ kind: 'input', port: PORT.uart, bytes }),
    )
    const peer = new NetworkPeer((bytes) => session!.runner.deliver({ kind: 'input', port: PORT.net, bytes }))
    session = await Session.open({
      ...{ image: image.files, ramBytes: 256 * MIB, mac: MAC, translation: 'hot', ...options },
      bootArguments: `console=ttyS0 ${commandLine} quiet`,
      onOutput: ({ port, bytes }) => {
        if (port === PORT.uart) shell.output(bytes)
        if (port === PORT.net) peer.receive(bytes)
      },
      onNotice: (text) => console.error(text),
    })
    const guest = new Guest(session, shell, peer)
    guest.start()
    await shell.shell()
    return guest
  }

  start(): void {
    this.#running = this.session.run().then(
      ({ reason }) => reason === 'power' && this.console.end('power off'),
      (error: unknown) => this.console.end(String(error)),
    )
  }

  async stop(): Promise<void> {
    this.session.runner.stop()
    await this.#running
  }

  /** Waits for the guest to power off, and closes the session. */
  async end(): Promise<void> {
    await this.#running
    await this.session.close()
  }
}

/** Finds the guest on its network, and pings it until it has answered `count` times. */
async function pingGuest({ peer }: Guest, count: number): Promise<void> {
  for (let tries = 0; !peer.hasGuest && tries < 100; tries++) {
    peer.resolve()
    await setTimeout(100)
  }
  assert.ok(peer.hasGuest, 'the guest answers ARP')
  const first = peer.replies
  for (let tries = 0; peer.replies < first + count && tries < 20 * count; tries++) {
    peer.ping(8 + random(1400))
    await setTimeout(25)
  }
  assert.ok(peer.replies >= first + count, `${peer.replies - first} of ${count} pings were answered`)
}

/** So often the whole machine's digest is compared between the tiers. */
const DIGEST_EVERY = 10_000_000n

const DISK_WORK =
  'dd if=/dev/urandom of=work bs=64k count=40 2>/dev/null; sync; echo 3 >/proc/sys/vm/drop_caches; ' +
  'sha256sum work /usr/bin/python3*; sqlite3 t.db "create table if not exists t(x); insert into t values(1)"'

describe('a recorded boot with network, keys and disk', { skip }, () => {
  const recording = join(directory, 'recording')
  const snapshot = join(directory, 'snapshot')
  let digest: bigint
  let middle: bigint
  before(async () => {
    const translations = join(directory, 'translations')
    const earlier = await Guest.boot({ harts: 1, translations })
    earlier.console.type('poweroff\n')
    await earlier.end()
    const guest = await Guest.boot({ harts: 1, record: recording, translations })
    const { kept } = guest.session.computer.machine.translatorCounts!
    assert.ok(kept > 50, `${kept} regions of an earlier boot`)
    await pingGuest(guest, 10)
    await guest.console.succeed(DISK_WORK)
    const working = guest.console.succeed(`${DISK_WORK}; python3 -c 'print(sum(range(300000)))'`)
    await setTimeout(random(1500))
    await guest.stop()
    await guest.session.save(snapshot)
    middle = guest.session.computer.position
    console.error(`snapshot at position ${middle}`)
    guest.start()
    assert.match(await working, /44999850000\n$/)
    await pingGuest(guest, 5)
    guest.console.type('poweroff\n')
    await guest.end()
    digest = guest.session.computer.digest()
  })

  const again = (options: Partial<ReplayOptions>): Promise<ReplayResult> =>
    replay({ path: recording, findImage: () => ('files' in image ? image.files : assert.fail()), ...options })

  function assertEqual(result: ReplayResult, context: TestContext): void {
    assert.equal(result.divergence, undefined)
    assert.equal(result.isComplete, true)
    assert.equal(result.digest, digest)
    const { records, outputs, digests } = result.counts
    assert.ok(outputs > 5 && digests > 1, `${outputs} outputs, ${digests} digests`)
    const rate = `${(result.wallMs / 1000).toFixed(1)} s`
    context.diagnostic(`${records} records, ${outputs} outputs, ${digests} digests, ${rate}`)
  }

  /** Replays all of it in a tier. Returns the machine's digest at each multiple of so many steps, and its regions. */
  async function sampled(options: Pick<ReplayOptions, 'translation' | 'profiler'>, context: TestContext) {
    const digests = new Map<bigint, bigint>()
    let computer: Computer | undefined
    const onProgress = (replayed: Computer): void => {
      computer = replayed
    }
    const sliceSteps = (position: bigint): bigint => {
      if (position % DIGEST_EVERY === 0n) digests.set(position, computer!.digest())
      return DIGEST_EVERY - (position % DIGEST_EVERY)
    }
    assertEqual(await again({ ...options, onProgress, sliceSteps }), context)
    return { digests, regions: computer!.machine.translatorCounts?.regions ?? 0 }
  }

  it('replays interpreted, and translated before a profiler, as it was recorded with translations of an earlier boot, equal every 10 million steps', async (context) => {
    const profiler = new GuestProfiler()
    const interpreted = await sampled({}, context)
    const translated = await sampled({ translation: 'hot', profiler }, context)
    assert.deepEqual(translated.digests, interpreted.digests)
    const { digests, regions } = translated
    context.diagnostic(`${digests.size} digests, ${regions} regions`)
    assert.ok(digests.size > 50 && regions > 50, `${digests.size} digests, ${regions} regions`)
    const { regions: hottest, steps, symbols } = profiler.profile()
    assert.ok(steps.translated > 0 && steps.interpreted > 0)
    assert.ok(symbols > 10_000, `${symbols} symbols`)
    assert.ok(hottest.some(({ space, symbol }) => space === 'kernel' && symbol !== null))
  })

  it('replays from a snapshot taken in its middle', async (context) => {
    assertEqual(await again({ from: snapshot }), context)
  })

  it('replays in slices of a prime length, and of a few steps for a while', async (context) => {
    const start = middle + BigInt(random(50_000_000))
    const sliceSteps = (position: bigint): bigint =>
      position > start && position < start + 300_000n ? 7n : 1_000_003n
    assertEqual(await again({ sliceSteps }), context)
  })

  it('replays the part before any position alike', async () => {
    const to = middle + 30_000_000n
    const [whole, part] = [
      await again({ from: snapshot, to }),
      await again({ from: snapshot, to, sliceSteps: 99_991n }),
    ]
    assert.deepEqual([whole.position, whole.divergence], [to, undefined])
    assert.deepEqual([part.position, part.digest], [to, whole.digest])
  })

  /** Replays from the snapshot with `change` made to the computer once; how the difference is explained. */
  async function planted(change: (computer: Computer) => void): Promise<MachineDifference> {
    let at: bigint | undefined
    const onProgress = (computer: Computer): void => {
      if (at !== undefined || computer.position < middle + 10_000_000n) return
      at = computer.position
      change(computer)
    }
    const { divergence, explanation } = await again({ from: snapshot, onProgress })
    assert.ok(divergence !== undefined && at !== undefined, 'the difference is noticed')
    assert.ok(divergence.position >= at && divergence.equalAt <= at, 'it is noticed at the next digest')
    assert.notEqual(divergence.recorded, divergence.replayed)
    assert.ok(explanation !== undefined && !('unknown' in explanation), 'it is explained')
    return explanation
  }

  it('names the page of one changed byte of RAM', async () => {
    const { field, page, pages } = await planted(({ machine }) => {
      // A table of the kernel's that nothing writes: its first page.
      const address = 0x8020_0040
      machine.ram.write(address, Uint8Array.of(machine.ram.read(address, 1)[0]! ^ 1))
    })
    assert.deepEqual([field, page?.address, pages], [undefined, 0x8020_0000, 1])
  })

  it('names one changed register', async () => {
    const { field, pages } = await planted(({ machine }) => machine.harts[0]!.set64('mscratch', 1n))
    assert.match(field!.path, /hart0\.mscratch$/)
    assert.equal(pages, 0)
  })
})

/** Processes, address spaces and mappings made and torn down all the time. */
const STORM =
  'for i in $(seq 40); do /bin/true; done; for i in 1 2 3; do (sh -c "sh -c true" & ); done; wait; ' +
  'python3 -c "import mmap\nfor i in range(20):\n m = mmap.mmap(-1, 1 << 20)\n m[::4096] = bytes(256)\n m.close()"; ' +
  'stress-ng --fork 1 --fork-ops 15 --vm 1 --vm-bytes 4M --vm-ops 4 --mmap 1 --mmap-bytes 1M --mmap-ops 2 -t 60 >/dev/null 2>&1; ' +
  "echo STORM''-$?\n"
const STORM_STEPS_MAX = 2_500_000_000n
const DRAW_STEPS_MAX = 500_000_000n

describe('two copies, one that has run since its boot and one from a snapshot', { skip }, () => {
  for (const harts of [1, 2]) {
    it(`stay equal on ${harts} hart${harts > 1 ? 's' : ''}, however the second is sliced`, async (context) => {
      assert.ok('files' in image)
      const guest = await Guest.boot({ harts })
      await guest.stop()
      const path = join(directory, `twins-${harts}`)
      await guest.session.save(path)
      const base = await BaseImage.open(image.files.disk)
      const frozen = await openFrozenOverlay(diskBeside(path), base)
      const disks = [await frozen.forkPrivate(), await frozen.forkPrivate()] as const
      try {
        const warm = new DrivenComputer(guest.session.computer, disks[0])
        const { specification } = warm.computer
        const bootFiles = assert.fail
        const translation = harts === 1 ? 'hot' : 'off'
        const computer = new Computer({ engine: nodeEngine, specification, bootFiles, translation })
        await restore(computer, path)
        const cold = new DrivenComputer(computer, disks[1])
        let steps = 0n
        while (steps < (harts === 1 ? 2_000_000_000n : 1n)) steps += await weather(warm, cold)
        const regions = warm.computer.machine.translatorCounts!.regions
        context.diagnostic(`${steps} steps, ${regions} regions`)
        assert.ok(regions > 100, `${regions} regions`)
      } finally {
        for (const disk of disks) await disk.close()
        await frozen.close()
        await base.close()
        await guest.session.close()
      }
    })
  }

  it('have random numbers of their own as soon as they are told that their lives are', async () => {
    assert.ok('files' in image)
    const path = join(directory, 'twins-1')
    const { specification } = (await readHeader(path)).machine
    const base = await BaseImage.open(image.files.disk)
    const frozen = await openFrozenOverlay(diskBeside(path), base)
    /** What /dev/urandom gives to a copy; all copies see and hear the same but for the life. */
    const draw = async (life: number | undefined): Promise<string> => {
      const disk = await frozen.forkPrivate()
      const computer = new Computer({ engine: nodeEngine, specification, bootFiles: assert.fail })
      await restore(computer, path)
      const copy = new DrivenComputer(computer, disk)
      const bytes = new Uint8Array(GENERATION_BYTES).fill(life ?? 0)
      if (life !== undefined) computer.deliver({ kind: 'input', port: PORT.generation, bytes })
      copy.type('od -An -tx1 -N16 /dev/urandom\n')
      const start = computer.position
      let drawn: RegExpExecArray | null = null
      for (; drawn === null; drawn = /(?: [0-9a-f]{2}){16}/.exec(copy.screen)) {
        assert.ok(computer.position - start < DRAW_STEPS_MAX, `the guest draws: ${copy.screen.slice(-500)}`)
        await copy.advance(computer.position + 4_000_000n, () => 1_000_000_000n)
      }
      await disk.close()
      return drawn[0]
    }
    try {
      const [untold, untoldToo, first, firstToo, second] = [
        ...[await draw(undefined), await draw(undefined)],
        ...[await draw(1), await draw(1), await draw(2)],
      ]
      assert.equal(untoldToo, untold, 'they would have gone on with the same numbers')
      assert.equal(firstToo, first, 'nothing else makes a difference')
      assert.equal(new Set([untold, first, second]).size, 3)
    } finally {
      await frozen.close()
      await base.close()
    }
  })

  /** Sends both through the storm, and compares them again and again. Returns how long it was. */
  async function weather(warm: DrivenComputer, cold: DrivenComputer): Promise<bigint> {
    const start = warm.computer.position
    const before = warm.screen.length
    assert.equal(cold.computer.digest(), warm.computer.digest())
    for (const copy of [warm, cold]) copy.type(STORM)
    const isOver = (): boolean => warm.screen.slice(before).includes('STORM-0')
    while (!isOver()) {
      const { position } = warm.computer
      assert.ok(position - start < STORM_STEPS_MAX, `the storm ends: ${warm.screen.slice(-500)}`)
      assert.doesNotMatch(warm.screen, /STORM-[1-9]/)
      const limit = position + 4_000_000n + BigInt(random(1_000_000))
      await warm.advance(limit, () => 1_000_000_000n)
      await cold.advance(limit, () => BigInt(1 + random(400_000)))
      assert.equal(cold.computer.position, warm.computer.position)
      assert.equal(cold.computer.digest(), warm.computer.digest(), `equal at position ${limit}`)
      assert.equal(cold.screen, warm.screen)
    }
    return warm.computer.position - start
  }
})
