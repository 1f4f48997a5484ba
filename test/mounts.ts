/** File systems that a test mounts in a mount namespace of its own. */
import { spawnSync } from 'node:child_process'

/** Why none can be mounted here (tried at `directory`), or false. Under CI the reason is thrown. */
export function lacksMounts(directory: string): string | false {
  const { status } = spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'tmpfs', directory])
  if (status === 0) return false
  const reason = 'NOT TESTED: unshare cannot mount a file system here (not root?)'
  if (process.env['CI'] === 'true') throw new Error(reason)
  console.error(reason)
  return reason
}
