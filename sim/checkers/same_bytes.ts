/**
 * What the world gets to see of a life is one sequence of bytes on each port.
 *
 *  1. An ordinal of a port always stands for the same bytes, whoever releases it, however often.
 *  2. Each gateway process delivers every ordinal at most once, in order, without a gap.
 *  3. A life's ordinals begin with 1. A gateway that was started anew may repeat what the one before it delivered, but
 *     leaves nothing out.
 *
 * Lives may not be mixed: once a higher one is delivered, lower ones are not any more.
 */
import type { Checker } from '../checker.ts'
import type { FaultName } from '../faults.ts'
import type { Observation } from '../observation.ts'
import { FailureList } from './failure_list.ts'
import { nameOf } from './wording.ts'

type Output = Observation & { readonly kind: 'released' | 'delivered' }

/** Faults that replace the gateway's process, with what it remembers. */
export const GATEWAY_RESTART: FaultName = 'gateway restart'

export class SameBytes implements Checker {
  readonly name = 'same bytes for an ordinal'
  readonly #failures = new FailureList()
  /** Whatever was seen first of each life, port and ordinal. */
  readonly #first = new Map<string, Output>()
  /** For each life and port the last ordinal that this gateway has delivered, and that any gateway has. */
  readonly #last = new Map<string, bigint>()
  readonly #lastOfAll = new Map<string, bigint>()
  #life = 0

  onObservation(observation: Observation): void {
    if (observation.kind === 'fault' && observation.name === GATEWAY_RESTART) this.#last.clear()
    if (observation.kind !== 'released' && observation.kind !== 'delivered') return
    this.#compare(observation)
    if (observation.kind === 'delivered') this.#onDelivered(observation)
  }

  finish(): readonly string[] {
    return this.#failures.lines
  }

  #compare(output: Output): void {
    const { atMs, life, port, ordinal, bytes } = output
    const key = `${life}:${port}:${ordinal}`
    const first = this.#first.get(key)
    if (first === undefined) {
      this.#first.set(key, output)
      return
    }
    if (areEqual(first.bytes, bytes)) return
    this.#failures.add(
      atMs,
      `output ${ordinal} of port ${port} in life ${life}: ${describe(output)}, but ${describe(first)} at ${first.atMs} ms`,
    )
  }

  #onDelivered({ atMs, process: who, life, port, ordinal }: Output): void {
    if (life < this.#life) {
      this.#failures.add(
        atMs,
        `output ${ordinal} of port ${port} of life ${life} (${nameOf(who)}) was delivered after life ${this.#life} had begun`,
      )
    }
    this.#life = Math.max(this.#life, life)
    const key = `${life}:${port}`
    const last = this.#last.get(key)
    const lastOfAll = this.#lastOfAll.get(key) ?? 0n
    const isRight = last === undefined ? ordinal >= 1n && ordinal <= lastOfAll + 1n : ordinal === last + 1n
    if (!isRight) this.#failures.add(atMs, describeOrder(who, life, port, ordinal, last ?? lastOfAll))
    if (last === undefined || ordinal > last) this.#last.set(key, ordinal)
    if (ordinal > lastOfAll) this.#lastOfAll.set(key, ordinal)
  }
}

function describeOrder(
  who: Output['process'],
  life: number,
  port: number,
  ordinal: bigint,
  last: bigint,
): string {
  const what = ordinal <= last ? 'a second time' : `with a gap: ${last + 1n} is missing`
  return (
    `output ${ordinal} of port ${port} in life ${life}, from ${nameOf(who)}, was delivered after ${last}: ` +
    (ordinal <= last ? `${what}, or out of order` : what)
  )
}

function describe({ kind, process: who, bytes }: Output): string {
  const hex = [...bytes.subarray(0, 16)].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  return `${nameOf(who)} ${kind} ${bytes.length} bytes (${hex}${bytes.length > 16 ? '...' : ''})`
}

function areEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}
