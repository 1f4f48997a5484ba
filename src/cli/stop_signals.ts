/**
 * The signals that ask this process to end: the machine is stopped in good order, its files are finished, and the exit
 * status names the signal, as a shell's would. The second signal of a kind ends the process at once.
 */
import { EXIT_CODE } from './exit_codes.ts'

const STATUS_OF = {
  SIGHUP: EXIT_CODE.hangup,
  SIGINT: EXIT_CODE.interrupted,
  SIGTERM: EXIT_CODE.terminated,
} as const
type StopSignal = keyof typeof STATUS_OF
const SIGNALS = Object.keys(STATUS_OF) as StopSignal[]

export class StopSignals {
  #received: StopSignal | undefined
  #stop: () => void = () => {}
  readonly #onSignal = (signal: NodeJS.Signals): void => {
    this.#received ??= signal as StopSignal
    this.#stop()
  }

  /** From now on signals are taken, until `release`. */
  constructor() {
    for (const signal of SIGNALS) process.once(signal, this.#onSignal)
  }

  /** The exit status that the first signal asks for. */
  get exitCode(): number | undefined {
    return this.#received && STATUS_OF[this.#received]
  }

  /** Has `stop` called at a signal: at once, if there has been one. */
  onStop(stop: () => void): void {
    this.#stop = stop
    if (this.#received !== undefined) stop()
  }

  release(): void {
    for (const signal of SIGNALS) process.off(signal, this.#onSignal)
  }
}
