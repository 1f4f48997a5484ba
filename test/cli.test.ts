/** The command line as users meet it: a process with arguments, streams and an exit code. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { EXIT_CODE } from '../src/cli/exit_codes.ts'
import { writeManifest } from '../src/image/store.ts'
import { bareElf } from './bare_elf.ts'

const launcher = fileURLToPath(new URL('../understudy', import.meta.url))
const directory = mkdtempSync(join(tmpdir(), 'understudy-cli-'))
after(() => rmSync(directory, { recursive: true }))

interface Outcome {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

interface RunOptions {
  readonly environment?: NodeJS.ProcessEnv
  /** Called with what the command has written to its standard output so far. */
  readonly onOutput?: (child: ReturnType<typeof spawn>) => void
}

/** Runs `understudy` to its end, in the test's directory. */
function understudy(parameters: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const child = spawn(launcher, parameters, {
    cwd: directory,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, UNDERSTUDY_HOME: join(directory, 'home'), ...options.environment },
  })
  let [stdout, stderr] = ['', '']
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  child.stdout.on('data', (chunk) => {
    stdout += chunk
    options.onOutput?.(child)
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (status) => resolve({ status, stdout, stderr }))
  })
}

/** Writes an ELF file, and returns its name in the test's directory. */
function program(name: string, source: string): string {
  writeFileSync(join(directory, name), bareElf(source))
  return name
}

function exits(status: number): string {
  return `_start: la t0, tohost; li t1, ${status * 2 + 1}; sd t1, 0(t0)
    1: j 1b
    .align 3
    tohost: .dword 0
    begin_signature: .word 0x11223344, 0xdeadbeef
    end_signature: .word 0`
}

const POWER_OFF = 'li t0, 0x100000; li t1, 0x5555; sw t1, 0(t0); 1: j 1b'

function prints(text: string, end = POWER_OFF): string {
  return `_start: li t0, 0x10000000; la t1, text
    2: lbu t2, 0(t1); beqz t2, 3f; sb t2, 0(t0); addi t1, t1, 1; j 2b
    3: ${end}
    text: .asciz "${text}"`
}

/** A failure is one line, without a stack. */
function assertFails(outcome: Outcome, status: number, message: RegExp): void {
  assert.equal(outcome.status, status, outcome.stderr)
  assert.match(outcome.stderr, /^understudy: [^\n]+\n$/)
  assert.match(outcome.stderr, message)
  assert.equal(outcome.stdout, '')
}

describe('exec', () => {
  it('ends with the status of the program', async () => {
    const outcome = await understudy(['exec', program('three.elf', exits(3))])
    assert.deepEqual(outcome, { status: 3, stdout: '', stderr: '' })
  })

  it('does not turn a failure of status 256 into a success', async () => {
    const outcome = await understudy(['exec', program('large.elf', exits(256)), '--report', 'large.json'])
    assert.equal(outcome.status, 255)
    assert.equal(JSON.parse(readFileSync(join(directory, 'large.json'), 'utf8')).exitStatus, 256)
  })

  it('passes on what the program prints, in order', async () => {
    const outcome = await understudy(['exec', program('hello.elf', prints('hello\\nworld'))])
    assert.deepEqual(outcome, { status: 0, stdout: 'hello\nworld', stderr: '' })
  })

  it('stops at the limit, with equal reports for equal runs', async () => {
    const file = program('loop.elf', '_start: addi a0, a0, 1; j _start')
    const reports = []
    for (const name of ['first.json', 'second.json']) {
      const outcome = await understudy(['exec', file, '--max-instructions', '10000001', '--report', name])
      assertFails(outcome, EXIT_CODE.limit, /instruction 10000001, pc 0x80000004: .*--max-instructions/)
      reports.push(JSON.parse(readFileSync(join(directory, name), 'utf8')))
    }
    const [first, second] = reports
    assert.equal(first.end, 'limit')
    assert.equal(first.exitStatus, null)
    assert.equal(first.position, 10000001)
    assert.equal(first.idleSeconds, 0)
    assert.ok(first.wallSeconds > 0 && first.instructionsPerSecond > 0)
    assert.match(first.digest, /^[0-9a-f]{16}$/)
    assert.equal(first.digest, second.digest)
  })

  it('tells a program that waits for nothing', async () => {
    const outcome = await understudy(['exec', program('wait.elf', '_start: wfi; j _start')])
    assertFails(outcome, EXIT_CODE.idle, /wait\.elf at instruction 1, .*no timer/)
  })

  it('starts as many harts as asked for', async () => {
    const source = `_start: la t0, count; li t1, 1; amoadd.w t2, t1, (t0); li t1, 2
      bne t2, t1, 1f; ${POWER_OFF}
      1: j 1b
      .align 2
      count: .word 0`
    const file = program('harts.elf', source)
    assert.equal((await understudy(['exec', file, '--harts', '3'])).status, 0)
    const alone = await understudy(['exec', file, '--harts', '2', '--max-instructions', '1000000'])
    assert.equal(alone.status, EXIT_CODE.limit)
  })

  it('writes the signature, four bytes a line', async () => {
    const file = program('signed.elf', exits(0))
    await understudy(['exec', file, '--signature', 'out.signature'])
    assert.equal(readFileSync(join(directory, 'out.signature'), 'utf8'), '11223344\ndeadbeef\n')
  })

  it('writes through a symbolic link and does not replace it', async () => {
    symlinkSync('target.signature', join(directory, 'link.signature'))
    await understudy(['exec', program('signed.elf', exits(0)), '--signature', 'link.signature'])
    assert.equal(readFileSync(join(directory, 'target.signature'), 'utf8'), '11223344\ndeadbeef\n')
  })

  it('refuses before the run what it could not write after it', async () => {
    const missing = ['exec', program('signed.elf', exits(0)), '--signature', 'no/such/file']
    assertFails(await understudy(missing), EXIT_CODE.file, /cannot write no\/such\/file: no such file/)
    const unsigned = ['exec', program('hello.elf', prints('x')), '--signature', 'none']
    assertFails(
      await understudy(unsigned),
      EXIT_CODE.file,
      /no symbol begin_signature.*leave --signature out/,
    )
    assert.equal(existsSync(join(directory, 'none')), false)
  })

  it('names what is wrong with a file', async () => {
    const whole = bareElf(exits(0))
    const x86 = whole.slice()
    x86[18] = 62
    writeFileSync(join(directory, 'truncated.elf'), whole.subarray(0, 150))
    writeFileSync(join(directory, 'x86.elf'), x86)
    writeFileSync(join(directory, 'text.elf'), 'no ELF file at all')
    const cases: [string, RegExp][] = [
      ['missing.elf', /cannot read missing\.elf: no such file/],
      ['.', /cannot read \.: it is a directory/],
      ['/dev/zero', /cannot read \/dev\/zero: it is a device/],
      ['truncated.elf', /truncated\.elf: .* outside the file/],
      ['x86.elf', /x86\.elf: made for machine 62, not for RISC-V/],
      ['text.elf', /text\.elf: not an ELF file/],
    ]
    for (const [file, message] of cases) {
      assertFails(await understudy(['exec', file]), EXIT_CODE.file, message)
    }
  })

  it('refuses a program that does not fit into RAM', async () => {
    const file = program('huge.elf', `${exits(0)}; .zero 4000000`)
    assertFails(await understudy(['exec', file, '--memory', '2M']), EXIT_CODE.failure, /outside the RAM/)
    assert.equal((await understudy(['exec', file, '--memory', '4M'])).status, 0)
  })

  it('reads its options strictly', async () => {
    const cases: [string[], RegExp][] = [
      [['--memory', '512m'], /'512m' is invalid\. Expected a size as 512M or 1G/],
      [['--memory', '1M'], /RAM is 2M to 3G, a multiple of 2M/],
      [['--memory', '3M'], /multiple of 2M/],
      [['--memory', '4G'], /RAM is 2M to 3G/],
      [['--harts', '9'], /1 to 8 harts/],
      [['--max-instructions', '1e9'], /positive whole number/],
      [['--max-instructions', '0'], /positive whole number/],
      [['--max-instruction', '1'], /Did you mean --max-instructions/],
      [['second.elf'], /too many arguments/],
    ]
    for (const [options, message] of cases) {
      assertFails(await understudy(['exec', 'any.elf', ...options]), EXIT_CODE.usage, message)
    }
    assertFails(await understudy(['exec']), EXIT_CODE.usage, /missing required argument 'FILE.elf'/)
  })

  it('reports and ends when interrupted', async () => {
    const file = program('endless.elf', prints('ready\\n', '1: j 1b'))
    const outcome = await understudy(['exec', file, '--report', 'interrupted.json'], {
      onOutput: (child) => child.kill('SIGINT'),
    })
    assert.equal(outcome.status, EXIT_CODE.interrupted)
    assert.match(
      outcome.stderr,
      /^understudy: interrupted endless\.elf at instruction \d+, pc 0x[0-9a-f]+\n$/,
    )
    assert.equal(JSON.parse(readFileSync(join(directory, 'interrupted.json'), 'utf8')).end, 'interrupted')
  })

  it('says so when its output cannot be written', { skip: process.platform !== 'linux' }, () => {
    const full = openSync('/dev/full', 'w')
    const stdio = ['ignore', full, 'pipe'] as const
    const file = program('hello.elf', prints('hello\\n'))
    const { status, stderr } = spawnSync(launcher, ['exec', file], { cwd: directory, stdio: [...stdio] })
    assert.equal(status, EXIT_CODE.file)
    assert.match(`${stderr}`, /^understudy: cannot write the output: ENOSPC[^\n]+\n$/)
    closeSync(full)
  })

  it('ends without a word when nobody reads its output any more', async () => {
    const endless = '_start: li t0, 0x10000000; li t1, 10; 1: sb t1, 0(t0); j 1b'
    const outcome = await understudy(['exec', program('chatty.elf', endless)], {
      onOutput: (child) => child.stdout?.destroy(),
    })
    assert.equal(outcome.status, EXIT_CODE.outputClosed)
    assert.equal(outcome.stderr, '')
  })
})

describe('boot', () => {
  const wrong: readonly [options: string[], message: RegExp][] = [
    [['--load', 'a.snap', '--memory', '1G'], /--memory is in the snapshot: leave it out with --load/],
    [['--load', 'a.snap', '--append', 'x'], /--append is in the snapshot: leave it out with --load/],
    [['--record', 'a.snap', '--load', './a.snap'], /a\.snap is named twice: these options need a file each/],
    [['--report', 'a', '--save', 'a'], /a is named twice: these options need a file each/],
    [['--disk', 'a', '--ephemeral'], /--disk and --ephemeral exclude each other: leave one out/],
  ]
  for (const [options, message] of wrong) {
    it(`refuses ${options.join(' ')}`, async () => {
      const { status, stderr } = await understudy(['boot', 'none', ...options])
      assert.equal(status, EXIT_CODE.usage)
      assert.match(stderr, message)
      assert.match(stderr, /^understudy: [^\n]+\n$/)
    })
  }

  it('says before it boots that a report could not be written', {
    skip: process.platform !== 'linux',
  }, async () => {
    const { status, stderr } = await understudy(['boot', 'none', '--report', '/proc/report'])
    assert.equal(status, EXIT_CODE.file)
    assert.match(stderr, /^understudy: cannot write \/proc\/report: [^\n]+\n$/)
  })

  it('says before it boots that a snapshot could not be written', async () => {
    mkdirSync(join(directory, 'taken.snap.disk'))
    const { status, stderr } = await understudy(['boot', 'none', '--save', 'taken.snap'])
    assert.equal(status, EXIT_CODE.failure)
    assert.match(stderr, /^understudy: taken\.snap\.disk is in the way[^\n]+: name another place\n$/)
  })
})

describe('replay', () => {
  it('says so when the recording is a directory', async () => {
    const { status, stderr } = await understudy(['replay', '.'])
    assert.equal(status, EXIT_CODE.file)
    assert.equal(stderr, 'understudy: cannot read recording .: it is a directory: name a file\n')
  })
})

describe('a start without compiled code', () => {
  it('ends in a process that has compiled nothing, and there is none but the first', async () => {
    writeFileSync(
      join(directory, 'starts.cjs'),
      "require('node:fs').appendFileSync('starts', `${process.pid}\\n`)",
    )
    const environment = {
      NODE_COMPILE_CACHE: join(directory, 'compiled'),
      NODE_OPTIONS: `--require ${join(directory, 'starts.cjs')}`,
    }
    const starts = async (): Promise<string[]> => {
      rmSync(join(directory, 'starts'), { force: true })
      const outcome = await understudy(['replay', 'none'], { environment })
      assertFails(outcome, EXIT_CODE.file, /cannot read recording none/)
      return readFileSync(join(directory, 'starts'), 'utf8').trim().split('\n')
    }
    const [first, second, ...more] = await starts()
    assert.ok(second === first && more.length === 0, 'the process has replaced itself, once')
    assert.equal((await starts()).length, 1)
  })
})

describe('disassemble', () => {
  it('lists instructions with symbols and targets', async () => {
    const file = program('listed.elf', '_start: addi a0, zero, 1; j other\n.zero 8\nother: c.nop; ebreak')
    const { status, stdout } = await understudy(['disassemble', file])
    assert.equal(status, 0)
    assert.deepEqual(stdout.split('\n').slice(4), [
      '0000000080000000 <_start>:',
      '    80000000:\t00100513\taddi\ta0,zero,1',
      '    80000004:\t00c0006f\tjal\tzero,0x80000010 <other>',
      '\t... 8 bytes of zeros',
      '',
      '0000000080000010 <other>:',
      '    80000010:\t0001    \tc.nop',
      '    80000012:\t00100073\tebreak',
      '',
    ])
  })

  it('ends without a word when nobody reads its output any more', async () => {
    const file = program('long.elf', '_start: nop\n'.concat('addi a0, a0, 1\n'.repeat(50_000)))
    const outcome = await understudy(['disassemble', file], {
      onOutput: (child) => child.stdout?.destroy(),
    })
    assert.equal(outcome.status, EXIT_CODE.outputClosed)
    assert.equal(outcome.stderr, '')
  })
})

describe('image', () => {
  /** An image of three small files, in a home of its own. */
  async function storeImage(home: string): Promise<void> {
    const image = join(directory, home, 'images', 'small')
    mkdirSync(image, { recursive: true })
    for (const file of ['kernel', 'initramfs', 'disk.ext4']) writeFileSync(join(image, file), file)
    await writeManifest(image, {
      name: 'small',
      created: '2026-01-02T03:04:05.000Z',
      system: 'Debian 13 (trixie) riscv64',
      kernelRelease: '6.12',
      commandLine: 'root=/dev/vda rw',
      requested: ['sqlite3'],
      packages: [{ name: 'sqlite3', version: '3' }],
    })
  }

  it('lists, shows and removes images', async () => {
    await storeImage('one')
    const environment = { UNDERSTUDY_HOME: join(directory, 'one') }
    const list = await understudy(['image', 'ls'], { environment })
    assert.match(list.stdout, /^small {2}Debian 13 \(trixie\) riscv64, kernel 6\.12, .*, built 2026-01-02\n$/)
    const listed = JSON.parse((await understudy(['image', 'ls', '--json'], { environment })).stdout)
    const image = join(directory, 'one', 'images', 'small')
    assert.equal(listed.length, 1)
    assert.equal(listed[0].kernel, join(image, 'kernel'))
    assert.equal(listed[0].initramfs, join(image, 'initramfs'))
    assert.equal(listed[0].disk, join(image, 'disk.ext4'))
    const shown = await understudy(['image', 'info', 'small', '--json', '--verify'], { environment })
    assert.deepEqual(JSON.parse(shown.stdout), listed[0])
    const removed = await understudy(['image', 'rm', 'small', '--json'], { environment })
    assert.deepEqual(JSON.parse(removed.stdout), { removed: ['small'], disks: [] })
    assert.equal(existsSync(image), false)
    const empty = await understudy(['image', 'ls', '--json'], { environment })
    assert.equal(empty.stdout, '[]\n')
  })

  it('removes what guests have written only when it is told to', async () => {
    await storeImage('three')
    const home = join(directory, 'three')
    const environment = { UNDERSTUDY_HOME: home }
    const run = (...parameters: string[]): Promise<Outcome> =>
      understudy(['image', ...parameters], { environment })
    const { sha256 } = JSON.parse((await run('info', 'small', '--json')).stdout)
    const [disk, older, other] = [sha256.disk.slice(0, 12), '0123456789ab', 'not-0123456789ab'].map(
      (suffix) => {
        const path = join(home, 'disks', `small-${suffix}`)
        mkdirSync(path, { recursive: true })
        writeFileSync(join(path, 'data'), 'written')
        return path
      },
    )
    assertFails(
      await run('rm', 'small'),
      EXIT_CODE.failure,
      /guests of image small have written .*: give --disks/,
    )
    assert.equal(existsSync(disk!), true)
    const removed = await run('rm', 'small', '--disks', '--json')
    assert.deepEqual(JSON.parse(removed.stdout), { removed: ['small'], disks: [older, disk] })
    assert.deepEqual(
      [disk, older, other].map((path) => existsSync(path!)),
      [false, false, true],
    )
    mkdirSync(disk!)
    const leftover = await run('rm', 'small', '--disks')
    assert.match(leftover.stdout, /^removed .*\/disks\/small-[0-9a-f]{12}, 0\n$/)
    assertFails(await run('rm', 'small', '--disks'), EXIT_CODE.failure, /there is no image 'small'/)
  })

  it('finds an image that has changed since it was built', async () => {
    await storeImage('two')
    const environment = { UNDERSTUDY_HOME: join(directory, 'two') }
    writeFileSync(join(directory, 'two/images/small/kernel'), 'kernem')
    const outcome = await understudy(['image', 'info', 'small', '--verify'], { environment })
    assertFails(outcome, EXIT_CODE.file, /image small is damaged: .*kernel has changed/)
  })

  it('refuses what cannot be', async () => {
    const cases: [string[], number, RegExp][] = [
      [['rm', 'none'], EXIT_CODE.failure, /there is no image 'none'/],
      [['info'], EXIT_CODE.usage, /missing required argument 'NAME'/],
      [['frame'], EXIT_CODE.usage, /unknown command 'frame'/],
      [['build', 'debian', '--size', '1X'], EXIT_CODE.failure, /--size 1X: expected a size/],
      [['build', 'debian', '--mirror', 'here'], EXIT_CODE.failure, /--mirror here: expected/],
      [['build', 'debian', '--name', '../up'], EXIT_CODE.failure, /cannot be the name of an image/],
    ]
    for (const [parameters, status, message] of cases) {
      assertFails(await understudy(['image', ...parameters]), status, message)
    }
  })
})

describe('doctor', () => {
  it('says what it looked at, and what to do about what is missing', async () => {
    const { status, stdout } = await understudy(['doctor', '--json'])
    const { ok, findings } = JSON.parse(stdout)
    assert.equal(status, ok ? EXIT_CODE.success : EXIT_CODE.failure)
    const names = findings.map((finding: { name: string }) => finding.name)
    for (const name of ['Node.js', 'WebAssembly multi-memory', 'WebAssembly branch hints', 'mke2fs']) {
      assert.ok(names.includes(name), name)
    }
    for (const name of ['loopback ports', 'state directory', 'TAP']) assert.ok(names.includes(name), name)
    for (const finding of findings) assert.equal(finding.ok, finding.remedy === '', finding.name)
  })

  it('fails where there is no room', async () => {
    const outcome = await understudy(['doctor'], { environment: { UNDERSTUDY_HOME: '/proc' } })
    assert.equal(outcome.status, EXIT_CODE.failure)
    assert.match(outcome.stdout, /MISSING {2}disk space .*\n.*-> free 1G, or name another place/)
  })
})

describe('every command', () => {
  it('has help with an example', async () => {
    const words = [
      'exec',
      'disassemble',
      'boot',
      'replay',
      'image',
      'doctor',
      'demo',
      'run',
      'status',
      'ls',
      'watch',
    ]
    words.push('failover', 'console', 'stop', 'snapshot', 'force', 'schema', 'host', 'gateway', 'supervise')
    for (const command of [
      ...[[], ...words.map((word) => [word])],
      ...[
        ['image', 'build'],
        ['image', 'build', 'debian'],
        ['image', 'rm'],
      ],
    ]) {
      const { status, stdout, stderr } = await understudy([...command, '--help'])
      assert.equal(status, 0)
      assert.equal(stderr, '')
      assert.match(stdout, new RegExp(`^Usage: ${['understudy', ...command].join(' ')} `))
      assert.match(stdout, /Examples?:\n {2}understudy /)
      for (const line of stdout.split('\n')) assert.ok(line.length <= 120, line)
    }
    assert.match((await understudy(['help', 'exec'])).stdout, /--max-instructions/)
  })

  it('refuses a wrong command line in one line', async () => {
    assertFails(await understudy(['exek']), EXIT_CODE.usage, /unknown command 'exek'.*Did you mean exec/)
    assertFails(await understudy(['--loud']), EXIT_CODE.usage, /unknown option '--loud'/)
    assertFails(await understudy(['help', 'exek']), EXIT_CODE.usage, /unknown command 'exek'/)
    const nothing = await understudy([])
    assert.equal(nothing.status, EXIT_CODE.usage)
    assert.match(nothing.stderr, /^Usage: understudy/)
  })

  it('has its exit codes documented', () => {
    const page = readFileSync(new URL('../docs/exit-codes.md', import.meta.url), 'utf8')
    const documented = [...page.matchAll(/^\| (\d+) \| (\w+) \|/gm)].map((row) => [row[2], Number(row[1])])
    assert.deepEqual(Object.fromEntries(documented), EXIT_CODE)
  })
})
