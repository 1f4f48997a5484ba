/** Asks one host, from within it. Word: `status`; null while its process does not answer. */
import { ControlClient } from '../../src/host/control_client.ts'
import { openCredentials } from '../../src/host/secure_credentials.ts'
import { dialSecure } from '../../src/host/secure_dial.ts'
import { serve } from './agent.ts'

const TIMEOUT_MS = 3000

const [machine = '', peerName = '', host = '', port = '', secretFile = ''] = process.argv.slice(2)
const credentials = await openCredentials({ secretFile })

function connect(): Promise<ControlClient | undefined> {
  return new Promise((resolve) => {
    dialSecure(
      {
        ...{ credentials, name: 'operator', peerName, host, port: Number(port) },
        ...{ service: 'control', terms: { machine }, timeoutMs: TIMEOUT_MS },
      },
      {
        opened: (stream) => resolve(new ControlClient(stream, {})),
        failed: () => resolve(undefined),
      },
    )
  })
}

await serve(async (word) => {
  const client = await connect()
  try {
    return await client?.request(word, {}, { timeoutMs: TIMEOUT_MS })
  } catch {
    return undefined
  } finally {
    client?.close()
  }
})
process.exit()
