/**
 * Which packages an image has: a base small enough to boot fast and complete enough to work in, and what the user
 * asks for. apt resolves the dependencies, against a made-up package database in which one package provides what
 * only maintainer scripts would need: no such script runs here.
 */
import { UserError } from '../base/errors.ts'

export const SUITE = 'trixie'
export const ARCHITECTURE = 'riscv64'
export const KERNEL_PACKAGE = 'linux-image-riscv64'

/** Packages of every image. */
export const BASE_PACKAGES: readonly string[] = [
  'base-files',
  'base-passwd',
  'bash',
  'busybox-static',
  'coreutils',
  'dash',
  'diffutils',
  'e2fsprogs',
  'findutils',
  'grep',
  'gzip',
  'hostname',
  'iproute2',
  'less',
  'libc-bin',
  'mount',
  'ncurses-base',
  'ncurses-bin',
  'netbase',
  'procps',
  'sed',
  'tar',
  'util-linux',
]

/** Packages that an image does without: they serve installation, device events, or another init. */
const PROVIDED: readonly string[] = [
  'adduser',
  'debconf',
  'debconf-2.0',
  'dpkg',
  'init-system-helpers',
  'initramfs-tools',
  'kmod',
  'libc-l10n',
  'linux-base',
  'linux-initramfs-tool',
  'lsb-base',
  'perl-base',
  'sensible-utils',
  'sysvinit-utils',
  'ucf',
  'update-inetd',
]

/**
 * The package database that dependencies are resolved against (deb822, dpkg's status file). What the user asks for
 * by name is left out of it, so that it is installed.
 */
export function packageDatabase(requested: readonly string[]): string {
  const provided = PROVIDED.filter((name) => !requested.includes(name))
  return [
    'Package: understudy-image',
    'Status: install ok installed',
    'Architecture: all',
    'Version: 1',
    'Maintainer: Understudy',
    // A version above any that exists, because a provided package without one satisfies no versioned dependency.
    `Provides: ${provided.map((name) => `${name} (= 999:1)`).join(', ')}`,
    'Description: stands for packages that only maintainer scripts need',
    '',
    '',
  ].join('\n')
}

/** Checks the names of packages given by the user: `name` or `name=version`. Throws a UserError. */
export function parsePackageNames(names: readonly string[]): string[] {
  for (const name of names) {
    // apt would read a name that ends in '-' as a wish to remove, and one that starts with it as an option.
    const valid = /^[a-z0-9][a-z0-9+.-]*[a-z0-9+.](=[A-Za-z0-9.+:~-]+)?$/.test(name)
    if (!valid) throw new UserError(`'${name}' is not the name of a Debian package`)
  }
  return [...new Set(names)].sort()
}
