/**
 * The keyboard and screen of a guest, for tests: waits for the shell, types commands, and reads their output and
 * status. What the guest prints comes in by `output`; keys leave by the function given.
 *
 * The shell is made quiet first (no echo, no prompt), and each command is followed by a mark with its status, so that
 * nothing of what is typed can be taken for what a command prints.
 */
import assert from 'node:assert/strict'
import { setTimeout } from 'node:timers/promises'

const POLL_MS = 20
const BOOT_MS_MAX = 240_000
const COMMAND_MS_MAX = 180_000
/** Kept from the end, to be shown when something does not come. */
const SHOWN_CHARACTERS = 1500

const PROMPT = /root@[^\s:]+:~# $/

export interface CommandResult {
  readonly output: string
  readonly status: number
}

export class GuestConsole {
  readonly #type: (keys: Uint8Array) => void
  #screen = ''
  #commands = 0
  #ended: string | undefined

  constructor(type: (keys: Uint8Array) => void) {
    this.#type = type
  }

  /** Takes what the guest prints. */
  output(bytes: Uint8Array): void {
    this.#screen += Buffer.from(bytes).toString('latin1')
  }

  /** Declares that the machine has ended: whoever waits fails. */
  end(reason: string): void {
    this.#ended = reason
  }

  /** Waits for the shell's prompt, and makes the shell quiet. */
  async shell(): Promise<void> {
    await this.#await(PROMPT, BOOT_MS_MAX)
    this.type("stty -echo -onlcr; PS1='' exec sh\n")
    this.#screen = ''
    const { status } = await this.run('PS1=; cd /root')
    assert.equal(status, 0)
  }

  type(keys: string): void {
    this.#type(Buffer.from(keys, 'latin1'))
  }

  /** Runs a command; its output includes what it wrote to the standard error. */
  async run(command: string): Promise<CommandResult> {
    const number = ++this.#commands
    this.type(`echo '<''${number}<'; ${command}\necho ">$?>${number}>"\n`)
    const pattern = new RegExp(`<${number}<\\n([^]*?)>(\\d+)>${number}>\\n`)
    const [, output, status] = await this.#await(pattern, COMMAND_MS_MAX)
    this.#screen = ''
    return { output: output!, status: Number(status) }
  }

  /** Runs a command that must succeed, and returns its output. */
  async succeed(command: string): Promise<string> {
    const { output, status } = await this.run(command)
    assert.equal(status, 0, `${command}: ${output}`)
    return output
  }

  async #await(pattern: RegExp, millisecondsMax: number): Promise<RegExpExecArray> {
    const end = performance.now() + millisecondsMax
    for (;;) {
      const found = pattern.exec(this.#screen)
      if (found !== null) return found
      const shown = this.#screen.slice(-SHOWN_CHARACTERS)
      assert.ok(this.#ended === undefined, `the machine ended (${this.#ended}): ${shown}`)
      assert.ok(performance.now() < end, `the guest does not say ${pattern}: ${shown}`)
      await setTimeout(POLL_MS)
    }
  }
}
