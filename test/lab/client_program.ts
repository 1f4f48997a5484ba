/**
 * The client of the laboratory: one TCP connection to the guest's Redis, on which it appends to lists and reads them back,
 * and another on which it asks for the time.
 * Words: `operations`, `pause` (the longest since it was asked last, in milliseconds), `finish`.
 */
import { checkHistory } from '../protected/check_history.ts'
import { ConnectionError, RedisClient } from '../protected/redis_client.ts'
import { Workload } from '../protected/workload.ts'
import { serve } from './agent.ts'
import { ClockReader } from './clock_reader.ts'

export interface ClientReport {
  readonly operations: number
  readonly clockAnswers: number
  readonly connectionErrors: readonly string[]
  readonly wrongAnswers: readonly string[]
  readonly faults: readonly string[]
}

const RETRY_MS = 500
const PATIENCE_MS = 60_000

async function connect(host: string, port: number): Promise<Workload> {
  for (;;) {
    try {
      return await Workload.start({ host, port, name: 'lab', connections: 1, pauseMs: 10 })
    } catch (error) {
      // The guest boots.
      if (!(error instanceof ConnectionError)) throw error
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
    }
  }
}

async function finish(workload: Workload, clock: ClockReader): Promise<ClientReport> {
  await clock.finish(PATIENCE_MS)
  const { history, connectionErrors, wrongAnswers } = await workload.finish(PATIENCE_MS)
  const { operations, faults } = checkHistory(history)
  const { answers, faults: clockFaults } = clock
  return {
    ...{ operations, clockAnswers: answers, connectionErrors, wrongAnswers },
    faults: [...faults, ...clockFaults],
  }
}

const [host = '', port = ''] = process.argv.slice(2)
const workload = await connect(host, Number(port))
const clock = new ClockReader(await RedisClient.connect(Number(port), host))
await serve(async (word) => {
  if (word === 'operations') return workload.operations
  if (word === 'pause') return workload.takeLongestPauseMs()
  if (word === 'finish') return finish(workload, clock)
  throw new Error(`an unknown word: ${word}`)
})
process.exit()
