/** Ends processes that are nobody's children any more. */

const LOOK_MS = 100

/** Asks a process to end, and kills it if it has not within `termMs`. Resolves when `hasEnded` says so, or soon after. */
export async function endProcess(
  pid: number,
  termMs: number,
  hasEnded: () => Promise<boolean>,
): Promise<void> {
  for (const name of ['SIGTERM', 'SIGKILL'] as const) {
    signalProcess(pid, name)
    for (const end = performance.now() + termMs; performance.now() < end; ) {
      if (await hasEnded()) return
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
    }
  }
}

export function signalProcess(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    // It has ended meanwhile.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
