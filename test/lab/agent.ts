/** A program of the laboratory's that runs in a namespace: it is told words by lines, and answers each with a line. */
import type { ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'

/** The test's side. */
export class Agent {
  readonly child: ChildProcess
  readonly #waiting: { resolve: (answer: unknown) => void; reject: (error: Error) => void }[] = []
  #errors = ''
  #end: string | undefined

  constructor(child: ChildProcess) {
    this.child = child
    child.stderr!.on('data', (bytes: Buffer) => {
      this.#errors += bytes.toString()
    })
    createInterface({ input: child.stdout! }).on('line', (line) => {
      this.#waiting.shift()?.resolve(JSON.parse(line))
    })
    child.stdin!.on('error', () => {})
    child.once('exit', (code, signal) => {
      this.#end = `the agent has ended (${signal ?? code}): ${this.#errors}`
      for (const { reject } of this.#waiting.splice(0)) reject(new Error(this.#end))
    })
  }

  ask(word: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#end !== undefined) return reject(new Error(this.#end))
      this.#waiting.push({ resolve, reject })
      this.child.stdin!.write(`${word}\n`)
    })
  }
}

/** The program's side: answers each word as `answer` does, until its input ends. */
export async function serve(answer: (word: string) => Promise<unknown>): Promise<void> {
  for await (const word of createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify((await answer(word)) ?? null)}\n`)
  }
}
