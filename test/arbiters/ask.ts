/** Requests to an arbiter as promises, and members that propose. */
import assert from 'node:assert/strict'
import type { Arbiter, ArbiterAnswer, Decision } from '../../src/replication/arbiter.ts'

export function read(arbiter: Arbiter): Promise<ArbiterAnswer> {
  return new Promise((resolve) => arbiter.read(resolve))
}

export function propose(
  arbiter: Arbiter,
  expected: Decision | undefined,
  proposed: Decision,
): Promise<ArbiterAnswer> {
  return new Promise((resolve) => arbiter.propose(expected, proposed, resolve))
}

/** The latest decision, of an answer that has to be one. */
export function currentOf(answer: ArbiterAnswer): Decision | undefined {
  assert.equal(answer.kind, 'current', 'reason' in answer ? answer.reason : '')
  return answer.kind === 'current' ? answer.decision : undefined
}

export async function latest(arbiter: Arbiter): Promise<Decision | undefined> {
  return currentOf(await read(arbiter))
}

/** Proposes what has to win. Returns it. */
export async function decide(
  arbiter: Arbiter,
  expected: Decision | undefined,
  text: string,
): Promise<Decision> {
  const proposed = { epoch: (expected?.epoch ?? 0) + 1, text }
  assert.deepEqual(currentOf(await propose(arbiter, expected, proposed)), proposed)
  return proposed
}

/** Expects an answer of this kind with a matching reason. */
export function assertRefused(
  answer: ArbiterAnswer,
  kind: 'unreachable' | 'untrusted',
  reason: RegExp,
): void {
  assert.equal(answer.kind, kind, JSON.stringify(answer))
  assert.match('reason' in answer ? answer.reason : '', reason)
}

/** Repeats `attempt` until it returns something; fails after `ms`. */
export async function until<Result>(
  attempt: () => Promise<Result | undefined> | Result | undefined,
  ms = 15_000,
): Promise<Result> {
  const end = performance.now() + ms
  for (;;) {
    const result = await attempt()
    if (result !== undefined) return result
    if (performance.now() > end) throw new Error(`nothing happened within ${ms} ms: ${attempt}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
