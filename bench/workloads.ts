/**
 * What runs in the guest. Programs stand in one shell script, so that one boot measures all of them; before each the
 * script writes a mark, a line `@number`, and the host's clock at the arrival of the marks gives the times. The guest's
 * own clock is not asked. A program can tell more by marks of its own (results of workloads, below).
 */
import type { Mark } from './marks.ts'
import type { Goals } from './results.ts'

export interface Workload {
  readonly name: string
  /** What the host must have to run it as well. */
  readonly program: string
  readonly command: string
  /** The command works for a time and tells how often it has done what it does; then the figure is the time for one. */
  readonly isCounted?: true
  readonly goals?: Goals
}

/** Debian packages of the image that the workloads need. */
export const PACKAGES = ['python3-minimal', '7zip', 'sqlite3', 'openssl', 'sysbench', 'stress-ng'] as const

/** The kernel's tests of its own ciphers run in the first seconds beside everything else: off, on both machines. */
export const QUIET_KERNEL = 'cryptomgr.notests'

/** The limit for each of Debian's programs. */
const PROGRAM: Goals = { qemu: 1.5 }
export const PROGRAMS_MEAN: Goals = { qemu: 0.8 }

/** Input for the programs that read a file: 2 MB of text, the same everywhere. */
export const PREPARE = 'seq 300000 >x'

/** Programs of Debian. What they write is dropped, but for marks. */
export const PROGRAMS: readonly Workload[] = [
  {
    name: 'python3 loop',
    program: 'python3',
    command: "python3 -S -c 's=0\nfor i in range(300000):s=(s*31+i)&0xffffffff'",
  },
  { name: 'python3 start', program: 'python3', command: 'for i in 1 2 3 4 5;do python3 -c pass;done' },
  { name: '7za b', program: '7za', command: '7za b 1 -mmt1 -md18 -mtime=0 >/dev/null' },
  { name: '7za compress', program: '7za', command: '7za a -mmt1 -mx1 y.7z x >/dev/null' },
  {
    name: 'sqlite3',
    program: 'sqlite3',
    command:
      "sqlite3 :memory: 'with recursive c(x) as(select 1 union all select x+1 from c where x<100000)select sum(length(hex(x)))from c' >/dev/null",
  },
  {
    name: 'sqlite3 insert, select',
    program: 'sqlite3',
    command: `sqlite3 d 'create table t(a integer primary key,b,c);create index i on t(b);
with recursive n(x)as(select 1 union all select x+1 from n where x<40000)insert into t select x,x*7919%40009,hex(x) from n;
select sum(length(c)) from t where b between 1000 and 30000;select sum(t.a) from t join t u on u.b=t.a' >/dev/null`,
  },
  { name: 'gzip', program: 'gzip', command: 'gzip -fk x' },
  { name: 'sha256sum', program: 'sha256sum', command: 'sha256sum x x x >/dev/null' },
  speedOf('openssl sha256, 16 KiB', '-bytes 16384 sha256'),
  speedOf('openssl ecdsap256, sign and verify', 'ecdsap256'),
  {
    name: 'sysbench cpu',
    program: 'sysbench',
    command: 'sysbench cpu --time=0 --events=1500 --cpu-max-prime=10000 run >/dev/null',
  },
  {
    name: 'stress-ng int64',
    program: 'stress-ng',
    command: 'stress-ng --quiet --cpu 1 --cpu-method int64 --cpu-ops 400',
  },
].map((workload) => ({ ...workload, goals: PROGRAM }))

/**
 * `openssl speed`, which writes `+DT...` when it begins with something and `+R...:count:...` when that is over. Those
 * lines become marks, so that the time is the host's, and only the count is the guest's.
 */
function speedOf(name: string, what: string): Workload {
  const command = `openssl speed -mr -seconds 2 ${what} 2>&1 >/dev/null | sed -un 's/^+/@+/p'`
  return { name, program: 'openssl', command, isCounted: true }
}

/** The file that has the small programs; it is there wherever it is needed. */
export const MICRO_PROGRAM = 'micro'

/** The limits of small programs; sha256 may take longer. */
const MICRO: Goals = { qemu: 1.2 }
const MICRO_DISPATCH: Goals = { qemu: 1.2, native: 6 }
export const MICRO_MEAN: Goals = { qemu: 0.5, native: 5 }

/** Programs of bench/micro that compute. */
export const MICRO_PROGRAMS: readonly Workload[] = [
  micro('integer', MICRO),
  micro('hash', MICRO),
  micro('pointer-chase', MICRO),
  micro('n-body', MICRO),
  micro('matmul', MICRO),
  micro('bytecode', MICRO_DISPATCH),
  micro('qsort', MICRO_DISPATCH),
  micro('memcpy', MICRO),
  micro('sha256', { qemu: 1.8 }),
]

/** Programs of bench/micro that ask the kernel. */
export const SYSTEM_PROGRAMS: readonly Workload[] = ['system-call', 'pipes', 'processes'].map((name) =>
  micro(name, { qemu: 1 }),
)

function micro(name: string, goals: Goals): Workload {
  return { name, program: MICRO_PROGRAM, command: `${MICRO_PROGRAM} ${name}`, goals }
}

/** The command, and a mark if it fails. */
export function markFailure(command: string): string {
  return `{ ${command}\n} || echo @failed`
}

/** The script: a mark before each workload, its place in the list, and one at the end. */
export function workloadScript(
  workloads: readonly Workload[],
  isWanted: (workload: Workload) => boolean = () => true,
): string {
  const lines = workloads.flatMap((workload, i) =>
    isWanted(workload) ? [`echo @${i}`, markFailure(workload.command)] : [],
  )
  return [PREPARE, ...lines, 'echo @end', ''].join('\n')
}

/** What a workload's marks say. */
export interface WorkloadResult {
  /** From its mark to the next one's; of a counted workload the time of one operation of each kind. */
  readonly seconds: number
  /** What it has computed, where it tells. */
  readonly checksum: string | undefined
  readonly hasFailed: boolean
  /** Whether it has told counts. */
  readonly isCounted: boolean
}

/** Results by the workload's place in the list. */
export function resultsOf(marks: readonly Mark[]): Map<number, WorkloadResult> {
  const starts = marks.flatMap(({ mark }, i) => (/^(\d+|end)$/.test(mark) ? [i] : []))
  const pairs = starts.slice(0, -1).map((start, i) => {
    const own = marks.slice(start, starts[i + 1]! + 1)
    return [Number(own[0]!.mark), resultOf(own)] as const
  })
  return new Map(pairs)
}

function resultOf(marks: readonly Mark[]): WorkloadResult {
  const checksum = marks.find(({ mark }) => mark.startsWith('='))?.mark.slice(1)
  const counted = marks.flatMap(({ mark, ms }, i) => {
    const count = Number(/^\+R\d*:(\d+):/.exec(mark)?.[1])
    return Number.isNaN(count) ? [] : [(ms - marks[i - 1]!.ms) / count]
  })
  const isCounted = counted.length > 0
  const ms = isCounted ? counted.reduce((sum, one) => sum + one, 0) : marks.at(-1)!.ms - marks[0]!.ms
  const hasFailed = marks.some(({ mark }) => mark === 'failed')
  return { seconds: ms / 1000, checksum, hasFailed, isCounted }
}
