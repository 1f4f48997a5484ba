/** Conditions that a protected machine has to live with for a while, where nothing dies. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { PairStatus } from '../../src/node/host/pair_control.ts'
import { type ProtectedPair, signal } from './pair.ts'
import { RedisClient } from './redis_client.ts'
import { ThrottledRelay } from './throttled_relay.ts'

/** A process that runs and stands still by turns, until that is ended. */
export function slowDown(pid: number, runMs: number, stopMs: number): { end(): Promise<void> } {
  let isOver = false
  const running = (async () => {
    while (!isOver) {
      signal(pid, 'SIGSTOP')
      await setTimeout(stopMs)
      signal(pid, 'SIGCONT')
      await setTimeout(runMs)
    }
  })()
  return {
    end: () => {
      isOver = true
      return running
    },
  }
}

/** Clients that ask again as soon as they have their answer. Their connections must hold. */
export async function hammer(
  pair: ProtectedPair,
  connections: number,
  words: () => readonly string[],
): Promise<{ end(): Promise<number> }> {
  const clients = await Promise.all(Array.from({ length: connections }, () => RedisClient.connect(pair.port)))
  let isOver = false
  let answers = 0
  const running = Promise.all(
    clients.map(async (client) => {
      for (; !isOver; answers++) await client.command(...words())
      client.close()
    }),
  )
  // Whoever ends it hears of it.
  running.catch(() => {})
  return {
    end: async () => {
      isOver = true
      await running
      return answers
    },
  }
}

/** The decisions are not to be had, until they are put back. */
export function withoutArbiter(pair: ProtectedPair): { end(): void } {
  const directory = join(pair.directory, 'arbiter')
  renameSync(directory, `${directory}.away`)
  return { end: () => renameSync(`${directory}.away`, directory) }
}

/** Has the backup's host reach the primary's by a relay, and its next process join that way. */
export async function relayBackup(pair: ProtectedPair, status: PairStatus): Promise<ThrottledRelay> {
  const { host } = status.backup!
  const path = join(pair.directory, `${host}.json`)
  const config = JSON.parse(readFileSync(path, 'utf8')) as {
    peers: Record<string, { host: string; port: number }>
  }
  const relay = await ThrottledRelay.start(config.peers[status.primary!.host]!.port)
  const peers = { ...config.peers, [status.primary!.host]: { host: '127.0.0.1', port: relay.port } }
  writeFileSync(path, JSON.stringify({ ...config, peers }))
  signal(status.backup!.pid, 'SIGKILL')
  await pair.untilProtected(status.epoch!)
  return relay
}
