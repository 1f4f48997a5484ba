/**
 * What runs in the guest. Programs stand in one shell script, so that one boot measures all of them; before each the
 * script writes a mark, a line `@name`, and the host's clock at the arrival of the marks gives the times. The guest's
 * own clock is not asked.
 */

export interface Workload {
  readonly name: string
  readonly program: string
  readonly command: string
}

/** Debian packages of the image that the workloads need. */
export const PACKAGES = ['python3-minimal', '7zip', 'sqlite3'] as const

/** The kernel's tests of its own ciphers run in the first seconds beside everything else: off, on both machines. */
export const QUIET_KERNEL = 'cryptomgr.notests'

/** Input for the programs that read a file: 2 MB of text, the same everywhere. */
export const PREPARE = 'seq 300000 >x'

export const WORKLOADS: readonly Workload[] = [
  {
    name: 'python3 loop',
    program: 'python3',
    command: "python3 -S -c 's=0\nfor i in range(300000):s=(s*31+i)&0xffffffff'",
  },
  { name: '7za b', program: '7za', command: '7za b 1 -mmt1 -md18 -mtime=0' },
  { name: '7za compress', program: '7za', command: '7za a -mmt1 -mx1 y.7z x' },
  {
    name: 'sqlite3',
    program: 'sqlite3',
    command:
      "sqlite3 :memory: 'with recursive c(x) as(select 1 union all select x+1 from c where x<100000)select sum(length(hex(x)))from c'",
  },
  { name: 'gzip', program: 'gzip', command: 'gzip -fk x' },
  { name: 'sha256sum', program: 'sha256sum', command: 'sha256sum x x x' },
]

/** The script: everything in a RAM disk, a mark before each workload and one at the end. */
export function guestScript(workloads: readonly Workload[]): string {
  const lines = workloads.map(({ command }, i) => `echo @${i};${command} >/dev/null`)
  return ['cd /tmp;PATH=$PATH:/usr/lib/7zip', PREPARE, ...lines, 'echo @end'].join('\n')
}
