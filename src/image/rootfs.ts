/**
 * The guest's root file system as a directory of this machine: packages unpacked, nothing of theirs executed, and by
 * hand what maintainer scripts would have done. Owners cannot be set here by an ordinary user: they are kept beside the
 * directory, by path, and written into the file system image (ext4.ts).
 */
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { assert } from '../base/assert.ts'
import type { ResolvedPackage } from './apt.ts'
import { requireCommand } from './command.ts'
import { INIT_SCRIPT, POWER_SCRIPT, serviceScript } from './guest.ts'
import { type GuestUser, SERVICES, type Service, servicesOf } from './services.ts'

/** User and group number of a file in the guest. */
export interface Owner {
  readonly uid: number
  readonly gid: number
}

/** A directory that becomes a root file system. */
export interface RootDirectory {
  readonly path: string
  /** Owners by absolute path in the guest, of what does not belong to root. */
  readonly owners: ReadonlyMap<string, Owner>
}

/** Commands that busybox lends where no package has them. */
const BUSYBOX_COMMANDS =
  'awk bunzip2 bzip2 clear cpio cmp ed fdisk hexdump hwclock ifconfig insmod lsmod microcom nc netstat nslookup ping ' +
  'pstree reset resize route sh strings stty telnet time traceroute tree udhcpc unxz unzip vi wget which xxd xz zcat'

const MERGED_DIRECTORIES = ['bin', 'sbin', 'lib'] as const

const DIRECTORIES: readonly [path: string, permissions: number][] = [
  ['boot', 0o755],
  ['dev', 0o755],
  ['etc/understudy/services', 0o755],
  ['home', 0o755],
  ['mnt', 0o755],
  ['opt', 0o755],
  ['proc', 0o555],
  ['root', 0o700],
  ['run', 0o755],
  ['srv', 0o755],
  ['sys', 0o555],
  ['tmp', 0o1777],
  ['usr/local/bin', 0o755],
  ['usr/local/sbin', 0o755],
  ['var/lib/dpkg', 0o755],
  ['var/log', 0o755],
  ['var/tmp', 0o1777],
]

/** Documentation for people; the copyright files stay. */
const PRUNED_DIRECTORIES = ['usr/share/man', 'usr/share/info', 'usr/share/locale', 'usr/share/lintian']

const PROFILE = `# Set by the init: PATH, HOME, LANG, TERM.
if [ "$BASH" ]; then
  PS1='\\u@\\h:\\w\\$ '
  alias ls='ls --color=auto' ll='ls -l'
fi
for part in /etc/profile.d/*.sh; do
  [ -r "$part" ] && . "$part"
done
unset part
`

/** Unpacks `packages` into `path` and completes them to a root file system. `onDone` hears of each package. */
export async function makeRootDirectory(
  path: string,
  packages: readonly ResolvedPackage[],
  hostname: string,
  onDone: (count: number) => void,
): Promise<RootDirectory> {
  mkdirSync(path, { mode: 0o755 })
  for (const name of MERGED_DIRECTORIES) {
    mkdirSync(join(path, 'usr', name), { recursive: true })
    symlinkSync(`usr/${name}`, join(path, name))
  }
  const names = new Map<string, string>()
  for (const [index, one] of packages.entries()) {
    await requireCommand('dpkg-deb', ['-x', one.path, path])
    for (const [file, owner] of await foreignOwners(one.path)) names.set(file, owner)
    onDone(index + 1)
  }
  prune(path)
  const services = servicesOf(packages.map((one) => one.name))
  for (const [name, permissions] of DIRECTORIES) makeDirectory(path, name, permissions)
  writeConfiguration(path, hostname, services)
  writePrograms(path, services)
  await writePackageDatabase(path, packages)
  return { path, owners: ownersByNumber(path, names, services) }
}

/** Lines `path → user/group` of a package for everything that does not belong to root. */
async function foreignOwners(packagePath: string): Promise<[string, string][]> {
  const listing = await requireCommand('dpkg-deb', ['-c', packagePath])
  return listing
    .toString()
    .split('\n')
    .flatMap((line): [string, string][] => {
      const match = /^\S+ (\S+) +\d+ \S+ \S+ \.(\/.*?)\/?( -> .*| link to .*)?$/.exec(line)
      return match === null || match[1] === 'root/root' ? [] : [[canonicalPath(match[2]!), match[1]!]]
    })
}

function canonicalPath(path: string): string {
  return path.replace(/^\/(bin|sbin|lib)(?=\/)/, '/usr/$1')
}

function prune(root: string): void {
  for (const name of PRUNED_DIRECTORIES) rmSync(join(root, name), { recursive: true, force: true })
  const documents = join(root, 'usr/share/doc')
  if (!existsSync(documents)) return
  for (const name of readdirSync(documents, { recursive: true, encoding: 'utf8' })) {
    const path = join(documents, name)
    if (!name.endsWith('/copyright') && lstatSync(path, { throwIfNoEntry: false })?.isFile()) rmSync(path)
  }
}

function writeConfiguration(root: string, hostname: string, services: readonly Service[]): void {
  const users = SERVICES.flatMap((service) => service.users)
  const passwd = readFileSync(join(root, 'usr/share/base-passwd/passwd.master'), 'utf8').replace(
    /^root:.*$/m,
    'root::0:0:root:/root:/bin/bash',
  )
  const group = readFileSync(join(root, 'usr/share/base-passwd/group.master'), 'utf8')
  const files: Record<string, string> = {
    'etc/passwd': passwd + users.map(passwdLine).join(''),
    'etc/group': group + users.map((user) => `${user.name}:x:${user.id}:\n`).join(''),
    'etc/nsswitch.conf':
      'passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n',
    'etc/hosts': `127.0.0.1 localhost\n127.0.1.1 ${hostname}\n::1 localhost ip6-localhost\n`,
    'etc/hostname': `${hostname}\n`,
    'etc/fstab': '/dev/vda / ext4 defaults 0 0\n',
    'etc/profile': PROFILE,
    'etc/timezone': 'Etc/UTC\n',
    'etc/shells': '/bin/sh\n/bin/bash\n',
    'root/.bashrc': '[ -r /etc/profile ] && . /etc/profile\n',
    'var/log/services.log': '',
  }
  for (const [path, text] of Object.entries(files)) writeText(root, path, text)
  writeText(root, 'etc/shadow', shadow(files['etc/passwd']!), 0o640)
  for (const [path, text] of services.flatMap((service) => Object.entries(service.files)))
    writeText(root, path, text)
  link(root, 'etc/resolv.conf', '/run/resolv.conf')
  link(root, 'etc/mtab', '/proc/self/mounts')
  link(root, 'var/run', '/run')
  link(root, 'var/lock', '/run/lock')
}

function passwdLine(user: GuestUser): string {
  return `${user.name}:*:${user.id}:${user.id}::${user.home}:/usr/sbin/nologin\n`
}

/** Nobody has a password: root needs none on the console, and the others cannot log in. */
function shadow(passwd: string): string {
  const names = passwd.split('\n').flatMap((line) => line.split(':')[0] || [])
  return names.map((name) => `${name}:${name === 'root' ? '' : '*'}:20000:0:99999:7:::\n`).join('')
}

function writePrograms(root: string, services: readonly Service[]): void {
  writeText(root, 'usr/lib/understudy/init', INIT_SCRIPT, 0o755)
  writeText(root, 'usr/sbin/poweroff', POWER_SCRIPT, 0o755)
  link(root, 'usr/sbin/init', '../lib/understudy/init')
  for (const name of ['reboot', 'halt', 'shutdown']) link(root, `usr/sbin/${name}`, 'poweroff')
  for (const service of services) {
    writeText(
      root,
      `etc/understudy/services/${service.name}`,
      serviceScript(service.port, service.start),
      0o755,
    )
    for (const { path, permissions } of service.directories) makeDirectory(root, path, permissions)
  }
  if (existsSync(join(root, 'usr/bin/mawk'))) linkIfAbsent(root, 'usr/bin/awk', 'mawk')
  if (existsSync(join(root, 'usr/bin/dash'))) linkIfAbsent(root, 'usr/bin/sh', 'dash')
  for (const name of BUSYBOX_COMMANDS.split(' ')) {
    if (!exists(root, `usr/sbin/${name}`)) linkIfAbsent(root, `usr/bin/${name}`, 'busybox')
  }
}

/** Leaves a record of what is installed, in dpkg's own form. */
async function writePackageDatabase(root: string, packages: readonly ResolvedPackage[]): Promise<void> {
  const stanzas: string[] = []
  for (const one of packages) {
    const control = (await requireCommand('dpkg-deb', ['-f', one.path])).toString()
    stanzas.push(control.replace(/^(Package: .*)$/m, '$1\nStatus: install ok installed'))
  }
  writeText(root, 'var/lib/dpkg/status', stanzas.join('\n'))
}

function ownersByNumber(
  root: string,
  names: ReadonlyMap<string, string>,
  services: readonly Service[],
): Map<string, Owner> {
  const users = numbersByName(readFileSync(join(root, 'etc/passwd'), 'utf8'))
  const groups = numbersByName(readFileSync(join(root, 'etc/group'), 'utf8'))
  const owners = new Map<string, Owner>([['/etc/shadow', { uid: 0, gid: groups.get('shadow') ?? 0 }]])
  for (const [path, owner] of names) {
    const [user, group] = owner.split('/') as [string, string]
    owners.set(path, { uid: users.get(user) ?? 0, gid: groups.get(group) ?? 0 })
  }
  for (const { path, owner } of services.flatMap((service) => service.directories)) {
    const id = users.get(owner)
    assert(id !== undefined, `the owner of ${path} is no user of the guest: ${owner}`)
    owners.set(path, { uid: id, gid: id })
  }
  return owners
}

/** Numbers by name from passwd(5) or group(5): both have the number third. */
function numbersByName(text: string): Map<string, number> {
  const fields = text.split('\n').map((line) => line.split(':'))
  return new Map(fields.filter((field) => field.length > 2).map((field) => [field[0]!, Number(field[2])]))
}

function makeDirectory(root: string, path: string, permissions: number): void {
  mkdirSync(join(root, path), { recursive: true })
  chmodSync(join(root, path), permissions)
}

function writeText(root: string, path: string, text: string, permissions = 0o644): void {
  const target = join(root, path)
  mkdirSync(dirname(target), { recursive: true })
  // A link here would lead out of the guest's tree.
  rmSync(target, { force: true })
  writeFileSync(target, text)
  chmodSync(target, permissions)
}

function link(root: string, path: string, target: string): void {
  rmSync(join(root, path), { force: true, recursive: true })
  mkdirSync(dirname(join(root, path)), { recursive: true })
  symlinkSync(target, join(root, path))
}

function linkIfAbsent(root: string, path: string, target: string): void {
  if (!exists(root, path)) symlinkSync(target, join(root, path))
}

function exists(root: string, path: string): boolean {
  return lstatSync(join(root, path), { throwIfNoEntry: false }) !== undefined
}
