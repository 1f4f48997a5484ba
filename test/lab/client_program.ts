/**
 * The client of the laboratory: one TCP connection to the guest's Redis, on which it appends to lists and reads them back.
 * Words: `operations`, `pause` (the longest since it was asked last, in milliseconds), `finish`.
 */
import { checkHistory } from '../protected/check_history.ts'
import { ConnectionError } from '../protected/redis_client.ts'
import { Workload } from '../protected/workload.ts'
import { serve } from './agent.ts'

export interface ClientReport {
  readonly operations: number
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

async function finish(workload: Workload): Promise<ClientReport> {
  const { history, connectionErrors, wrongAnswers } = await workload.finish(PATIENCE_MS)
  const { operations, faults } = checkHistory(history)
  return { operations, connectionErrors, wrongAnswers, faults }
}

const [host = '', port = ''] = process.argv.slice(2)
const workload = await connect(host, Number(port))
await serve(async (word) => {
  if (word === 'operations') return workload.operations
  if (word === 'pause') return workload.takeLongestPauseMs()
  if (word === 'finish') return finish(workload)
  throw new Error(`an unknown word: ${word}`)
})
process.exit()
