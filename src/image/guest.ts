/**
 * The guest's own programs: an init in the shell of busybox, and the commands that end a session. It starts no
 * systemd: a guest is up some ten processes after the kernel.
 *
 * The init, process 1, mounts the usual file systems, sets the host name, the network and the clock, starts the
 * services of /etc/understudy/services (executable files, one each; the first line `# port N` says what to wait for),
 * and then either keeps a root shell on the console or runs one command and powers off (see run.ts for how its output
 * and status come out). It stops everything and leaves a clean file system on SIGUSR2 (power off), SIGUSR1 (the same
 * for halt) and SIGTERM or SIGINT (reboot): the signals that busybox and the kernel's Ctrl-Alt-Del send.
 *
 * Kernel parameters it knows: `understudy.run=BASE64`, `understudy.net=ADDRESS/PREFIX[,GATEWAY[,DNS]]` or `none`
 * (default 10.0.2.15/24,10.0.2.2,10.0.2.3), `understudy.size=COLUMNSxROWS` of the console, and what the kernel passes on
 * as environment, as TERM=.
 */

export const INIT_SCRIPT = `#!/usr/bin/busybox sh
# Process 1 of this guest: starts it, keeps a shell on its console, stops it.
bb=/usr/bin/busybox
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root USER=root LOGNAME=root SHELL=/bin/bash LANG=C.UTF-8
case $TERM in '' | linux) export TERM=xterm-256color ;; esac
umask 022
cd /

mount_all() {
  [ -e /proc/self ] || $bb mount -t proc proc /proc
  [ -e /sys/kernel ] || $bb mount -t sysfs sysfs /sys
  [ -e /dev/null ] || $bb mount -t devtmpfs devtmpfs /dev
  $bb mkdir -p /dev/pts /dev/shm
  $bb mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
  $bb mount -t tmpfs -o mode=1777,nosuid,nodev shm /dev/shm
  $bb mount -t tmpfs -o mode=755,nosuid,nodev run /run
  $bb mount -t tmpfs -o mode=1777,nosuid,nodev tmp /tmp
  $bb ln -sf /proc/self/fd /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /dev
  $bb mkdir -p /run/lock
}

read_parameters() {
  command= net=10.0.2.15/24,10.0.2.2,10.0.2.3 size=
  read -r line </proc/cmdline
  set -f
  for word in $line; do
    case $word in
      understudy.run=*) command=\${word#*=} ;;
      understudy.net=*) net=\${word#*=} ;;
      understudy.size=*) size=\${word#*=} ;;
    esac
  done
  set +f
  read -r line </sys/class/tty/console/active
  tty=/dev/\${line##* }
}

set_up_network() {
  read -r name </etc/hostname && echo "$name" >/proc/sys/kernel/hostname
  $bb ifconfig lo 127.0.0.1 up
  [ -e /sys/class/net/eth0 ] && [ "$net" != none ] || return 0
  old=$IFS IFS=,
  set -- $net
  IFS=$old
  $bb ip addr add "$1" dev eth0
  $bb ip link set eth0 up
  [ -z "$2" ] || $bb ip route add default via "$2"
  [ -z "$3" ] || echo "nameserver $3" >/run/resolv.conf
}

# After a long pause of the whole machine only the hardware clock has moved on: look at it now and then.
set_clock() {
  read -r hardware </sys/class/rtc/rtc0/since_epoch || return
  drift=$((hardware - EPOCHSECONDS))
  [ $drift -ge -2 ] && [ $drift -le 2 ] || $bb hwclock -s -u
}

keep_clock() {
  [ -e /sys/class/rtc/rtc0/since_epoch ] || return 0
  set_clock
  while $bb sleep 10; do set_clock; done &
}

start_services() {
  services=
  for service in /etc/understudy/services/*; do
    [ -x "$service" ] || continue
    $bb setsid "$service" </dev/null >>/var/log/services.log 2>&1 &
    process=$!
    { read -r line && read -r line; } <"$service"
    case $line in '# port '*) services="$services $process:\${line#\\# port }" ;; esac
  done
}

# Waits until a TCP port is listened on (state 0A in the kernel's table), as long as its service lives.
await_port() {
  process=$1
  port=$(printf ':%04X ' "$2")
  tries=0
  while [ -e "/proc/$process/exe" ] && [ $tries -lt 600 ]; do
    while read -r entry; do
      case $entry in *"$port"*' 0A '*) return ;; esac
    done <<END
$($bb cat /proc/net/tcp /proc/net/tcp6 2>/dev/null)
END
    $bb sleep 0.1
    tries=$((tries + 1))
  done
}

await_services() {
  for service in $services; do
    await_port "\${service%:*}" "\${service#*:}"
  done
}

# Waits for a child even when a signal interrupts the waiting; its status is left in $status.
await_child() {
  wait "$1"
  status=$?
  while kill -0 "$1" 2>/dev/null; do
    wait "$1"
    status=$?
  done
}

# Keeps a shell on the console. The environment command undoes the ignored Ctrl-C of a background process.
keep_shell() {
  [ -z "$size" ] || $bb stty -F "$tty" cols "\${size%x*}" rows "\${size#*x}"
  while :; do
    (cd /root && exec $bb setsid -c /usr/bin/env --default-signal=INT,QUIT /bin/bash --login) <"$tty" >"$tty" 2>&1 &
    shell=$!
    await_child $shell
    # A console that cannot be opened must not keep the machine busy.
    [ $status -eq 0 ] || $bb sleep 0.5
  done
}

open_output() {
  output=$tty
  tries=0
  for driver in /sys/bus/virtio/drivers/virtio_console/virtio*; do
    [ -e "$driver" ] || continue
    until [ -c /dev/hvc0 ] || [ $tries -eq 100 ]; do
      $bb sleep 0.02
      tries=$((tries + 1))
    done
  done
  if [ -c /dev/hvc0 ]; then output=/dev/hvc0; else echo 1 >/proc/sys/kernel/printk; fi
  # Held open until the end: the last close of a terminal resets its settings, after it has drained.
  exec 3<>$output
  $bb stty raw -echo <&3
}

run_command() {
  await_services
  open_output
  text=$(echo "$command" | $bb base64 -d)
  (cd /root && exec $bb setsid /usr/bin/env --default-signal=INT,QUIT /bin/sh -c "$text") </dev/null >&3 2>&1 3>&- &
  await_child $!
  stop_processes
  printf '\\036understudy-exit %d\\n' $status >&3
  exec 3>&-
  power poweroff
}

processes_left() {
  for process in /proc/[0-9]*; do
    # Kernel threads and dead processes have no program.
    [ "$process" = /proc/1 ] || [ ! -e "$process/exe" ] || return 0
  done
  return 1
}

stop_processes() {
  trap '' HUP INT TERM USR1 USR2
  kill -TERM -1 2>/dev/null
  # An interactive shell ignores SIGTERM.
  [ -z "$shell" ] || kill -HUP "$shell" 2>/dev/null
  tries=0
  while processes_left && [ $tries -lt 200 ]; do
    $bb sleep 0.05
    tries=$((tries + 1))
  done
  kill -KILL -1 2>/dev/null
}

power() {
  $bb sync
  $bb mount -o remount,ro / || { $bb sleep 0.2; $bb mount -o remount,ro /; }
  $bb "$1" -f
  while :; do $bb sleep 3600; done
}

stop() {
  stop_processes
  power "$1"
}

shell=
trap 'stop poweroff' USR1 USR2
trap 'stop reboot' TERM INT
mount_all
read_parameters
set_up_network
keep_clock
start_services
if [ -n "$command" ]; then run_command; else keep_shell; fi
`

/** Ends the session, by the name it is called: poweroff, reboot, halt or shutdown. */
export const POWER_SCRIPT = `#!/usr/bin/busybox sh
# Asks process 1 to stop everything; with -f, ends at once.
case \${0##*/} in reboot) signal=TERM action=reboot ;; *) signal=USR2 action=poweroff ;; esac
for word; do
  case $word in
    -r | --reboot) signal=TERM action=reboot ;;
    -f | --force) force=yes ;;
  esac
done
[ -z "$force" ] || exec /usr/bin/busybox $action -f
kill -$signal 1
# Until process 1 ends this one, so that no prompt comes back.
exec /usr/bin/busybox sleep 60
`

/** The start file of a service, as the init reads it. */
export function serviceScript(port: number, start: string): string {
  return `#!/bin/sh\n# port ${port}\n${start}`
}
