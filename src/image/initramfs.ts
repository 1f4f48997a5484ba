/**
 * The initial RAM file system: loads the modules that reach the disk, mounts the root file system and goes there. It
 * is not compressed: the guest would pay more instructions for unpacking than the host pays for reading.
 *
 * Kernel parameters it knows: `root=/dev/...` (default /dev/vda), `rootfstype=`, `ro`, `init=`.
 */
import { CpioWriter } from './cpio.ts'
import type { KernelModule } from './kernel.ts'

const INIT = `#!/bin/busybox sh
# Mounts the root file system and hands over to its init.
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t devtmpfs devtmpfs /dev

root=/dev/vda type=ext4 mode=rw init=/sbin/init
read -r line </proc/cmdline
set -f
for word in $line; do
  case $word in
    root=*) root=\${word#root=} ;;
    rootfstype=*) type=\${word#rootfstype=} ;;
    ro | rw) mode=$word ;;
    init=*) init=\${word#init=} ;;
  esac
done
set +f

while read -r module; do
  $bb insmod /modules/$module.ko
done </modules/order

tries=0
until [ -b $root ] || [ $tries -eq 200 ]; do
  $bb sleep 0.05
  tries=$((tries + 1))
done

if $bb mount -t $type -o $mode $root /root; then
  $bb mount --move /dev /root/dev
  $bb mount --move /sys /root/sys
  $bb mount --move /proc /root/proc
  exec $bb switch_root /root $init
fi
echo "cannot mount the root file system $root ($type): here is a shell" >/dev/console
exec $bb setsid -c $bb sh </dev/console >/dev/console 2>&1
`

/** Writes the archive that the kernel gets as its initrd. */
export function makeInitramfs(busybox: Uint8Array, modules: readonly KernelModule[]): Uint8Array {
  const archive = new CpioWriter()
  for (const name of ['bin', 'dev', 'modules', 'proc', 'root', 'sys']) archive.directory(name)
  // The kernel opens this for the first process before anything is mounted.
  archive.characterDevice('dev/console', 5, 1)
  archive.file('bin/busybox', busybox, 0o755)
  archive.file('init', Buffer.from(INIT), 0o755)
  archive.file('modules/order', Buffer.from(modules.map((module) => `${module.name}\n`).join('')))
  for (const module of modules) archive.file(`modules/${module.name}.ko`, module.content)
  return archive.finish()
}
