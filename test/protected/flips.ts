/**
 * Bits that flip in the RAM of a copy: what a fault of the hardware would do. They are flipped in values of Redis's that
 * nobody reads any more, so that what is seen is the machine that notices, and not the guest's own trouble with its
 * memory: a page that is written and then changes convicts nobody, and the primary's goes on.
 */
import assert from 'node:assert/strict'
import { SCRUB_DIGESTS } from '../../src/board/scrub.ts'
import { ControlError } from '../../src/host/control_protocol.ts'
import type { PairStatus } from '../../src/node/host/pair_control.ts'
import type { ProtectedPair } from './pair.ts'
import { RedisClient } from './redis_client.ts'
import type { Fault } from './rounds.ts'

const VALUE_BYTES = 1 << 20
const PAGE_BYTES = 4096
const TOUCHES = VALUE_BYTES / PAGE_BYTES - 1
/** One byte in each page of the value becomes another: the page is written, and holds the text all the same. */
const TOUCH = `for at = 0, ${TOUCHES} do redis.call('SETRANGE', KEYS[1], at * ${PAGE_BYTES}, ARGV[1]) end`
/** Combined with each character of a text by exclusive or. */
const MASK = '\x01'
/** Some digests, on a computer that is busy; far less than it takes to read all RAM again. */
const NOTICED_MS_MAX = 30_000
/** A digest may come between the write and the flip, or the backup not have got as far. */
const TRIES = 100
const FLIP = /^(\S+) (no bit was flipped|a bit was flipped in page (0x[0-9a-f]+))/m
const DIVERGED = 'diverged: digest of the machine: .*\\(position \\d+, '
const NOTICED = /^(\S+) .*(convicted|diverged|changed by itself|yields): /m

export interface Flip {
  readonly side: 'primary' | 'backup'
  /** In a page that has been written since the last digest, or in one that is left alone. */
  readonly isWritten: boolean
}

/** What was seen of a flip. */
export interface FlipReport {
  readonly page: string
  /** By the hosts' clock. */
  readonly noticedMs: number
  /** Those that were asked for in addition. */
  readonly digests: number
}

/** A bit flips, and is noticed and explained by both logs; what becomes of the pair is for the caller to see. */
export function flip(where: Flip, onReport?: (report: FlipReport) => void): Fault {
  return async (pair, before) => {
    const seen = new Logs(pair, before)
    const { page, atMs } = await flipAt(pair, before[where.side]!.host, where.isWritten)
    const digests = where.isWritten ? 0 : await readAllAgain(pair, before, seen)
    await requireExplained(seen, where, page)
    onReport?.({ page, noticedMs: (await seen.noticedAtMs()) - atMs, digests })
  }
}

/** What the hosts have logged since. */
class Logs {
  readonly #pair: ProtectedPair
  readonly #hosts: { readonly primary: string; readonly backup: string }
  readonly #from: { readonly primary: number; readonly backup: number }

  constructor(pair: ProtectedPair, { primary, backup }: PairStatus) {
    assert.ok(primary !== null && backup !== null)
    this.#pair = pair
    this.#hosts = { primary: primary.host, backup: backup.host }
    this.#from = { primary: pair.log(primary.host).length, backup: pair.log(backup.host).length }
  }

  until(side: 'primary' | 'backup', pattern: RegExp): Promise<RegExpExecArray> {
    return this.#pair.untilLogged(this.#hosts[side], pattern, this.#from[side], NOTICED_MS_MAX)
  }

  get isNoticed(): boolean {
    const sides = ['primary', 'backup'] as const
    return sides.some((side) => NOTICED.test(this.#pair.log(this.#hosts[side]).slice(this.#from[side])))
  }

  /** When the backup said so, which hears of it in any case. */
  async noticedAtMs(): Promise<number> {
    return Date.parse((await this.until('backup', NOTICED))[1]!)
  }
}

/** Says what the logs of both hosts have to say, where they are the primary and the backup of before. */
async function requireExplained(seen: Logs, { side, isWritten }: Flip, page: string): Promise<void> {
  if (isWritten) return requireDifference(seen, page)
  const where =
    side === 'backup'
      ? `page ${page}, changed in the replay without having been written: .*\\(position \\d+, `
      : `page ${page} of the guest's RAM has changed without having been written, by position \\d+`
  const convicted = `(this copy is convicted|memory changed by itself): ${where}`
  const [found] = await seen.until(side, new RegExp(`${convicted}|${DIVERGED}`))
  // The guest has used what was flipped before it was read again, and has it in other pages by now.
  if (new RegExp(DIVERGED).test(found)) return requireDifference(seen, '0x[0-9a-f]+')
  await seen.until(
    side === 'backup' ? 'primary' : 'backup',
    new RegExp(`it yields: (memory changed by itself: )?${where}`),
  )
}

/** Either copy may be right. Both say when, and the primary, who knows what both had, which page. */
async function requireDifference(seen: Logs, page: string): Promise<void> {
  await seen.until('backup', /this copy diverged: digest of the machine: .*\(position \d+, /)
  await seen.until('primary', new RegExp(DIVERGED))
  // Where the guest has copied it, others differ as well, of which only some are named.
  const named = `(page ${page} has hash .* here and .* there|and \\d+ more pages)`
  await seen.until('primary', new RegExp(`the difference: (.*; )?${named}`))
}

/**
 * A bit flips in the RAM of the primary, and the guest there reads it and writes what it has read elsewhere, before anybody
 * has read the page again: the copies differ, and the backup, which is right, goes on.
 */
export const flipAndUse: Fault = async (pair, before) => {
  const seen = new Logs(pair, before)
  const client = await RedisClient.connect(pair.port)
  const control = await pair.connectTo(before.primary!.host)
  try {
    const text = 'what is used is masked first '
    const masked = await setMasked(client, 'masked', text)
    const from = pair.log(before.primary!.host).length
    await control.request('flipBit', { isWritten: false, holding: masked })
    const [, , , page] = await pair.untilLogged(before.primary!.host, FLIP, from)
    assert.ok(page !== undefined, `no bit was flipped${pair.logs()}`)
    await client.command('BITOP', 'XOR', 'used', 'masked', 'mask')
    await control.request('digest').catch(ignoreEnd)
    await seen.until('primary', new RegExp(`memory changed by itself: page ${page} of`))
    await seen.until('backup', new RegExp(`taken for dead: it yields: page ${page} of`))
    const { reply } = await client.command('GET', 'used')
    assert.ok(reply === repeated(text), `a flipped bit has come through${pair.logs()}`)
  } finally {
    control.close()
    client.close()
  }
}

/**
 * Sets a key to the text over and over, masked, and returns what one masked text is: it stands in that value and nowhere
 * else. What came through a socket or went to the disk stands in pages that the kernel may give to others, who write
 * them, so that a bit that flipped there is gone without a trace.
 */
async function setMasked(client: RedisClient, key: string, text: string): Promise<string> {
  const value = repeated(text)
  // As long as this value, whatever was masked before.
  await client.command('SET', 'mask', MASK.repeat(value.length))
  if ((await client.command('STRLEN', key)).reply !== value.length) {
    await client.command('SET', 'plain', value)
    await client.command('BITOP', 'XOR', key, 'plain', 'mask')
    // The log of commands has reached the disk: the guest is quiet from now on.
    await client.command('WAITAOF', '1', '0', '5000')
  }
  return Array.from(text, (character) =>
    String.fromCharCode(character.charCodeAt(0) ^ MASK.charCodeAt(0)),
  ).join('')
}

function repeated(text: string): string {
  return text.repeat(Math.ceil(VALUE_BYTES / text.length))
}

/** A primary that is convicted ends. */
function ignoreEnd(error: unknown): void {
  if (!(error instanceof ControlError)) throw error
}

/** Flips a bit where `flip` says, however often it takes to meet such a page. */
async function flipAt(
  pair: ProtectedPair,
  host: string,
  isWritten: boolean,
): Promise<{ readonly page: string; readonly atMs: number }> {
  const [key, text] = isWritten ? ['written', 'a page that is written '] : ['left', 'a page left alone ']
  const client = await RedisClient.connect(pair.port)
  const control = await pair.connectTo(host)
  try {
    const holding = await setMasked(client, key, text)
    for (let attempt = 0; attempt < TRIES; attempt++) {
      const from = pair.log(host).length
      // Never what stands there: a page that is as it was has not changed.
      if (isWritten) await client.command('EVAL', TOUCH, '1', key, String.fromCharCode(65 + (attempt % 26)))
      await control.request('flipBit', { isWritten, holding })
      const [, time, , page] = await pair.untilLogged(host, FLIP, from)
      if (page !== undefined) return { page, atMs: Date.parse(time!) }
    }
    return assert.fail(`no bit could be flipped at ${host}${pair.logs()}`)
  } finally {
    control.close()
    client.close()
  }
}

/**
 * Has the primary make digests until something is noticed, which must be within those that read all RAM once. Returns how
 * many it took.
 */
async function readAllAgain(pair: ProtectedPair, { primary }: PairStatus, seen: Logs): Promise<number> {
  const control = await pair.connectTo(primary!.host)
  try {
    for (let digests = 1; digests <= SCRUB_DIGESTS; digests++) {
      await control.request('digest')
      if (seen.isNoticed) return digests
    }
  } catch (error) {
    ignoreEnd(error)
  } finally {
    control.close()
  }
  return SCRUB_DIGESTS
}
