/** Ports that nobody uses at the moment. Somebody may take one before it is used: nothing is reserved. */
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { UserError } from '../../base/errors.ts'

const LOOPBACK = '127.0.0.1'
const PORT_MAX = 65_535
/** How many ports are tried in a row. */
const TRIES = 200

/** Any ports, all different, of the loopback or another address of this computer. */
export async function freePorts(count: number, host = LOOPBACK): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, host))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => once(server.close(), 'close')))
  return ports
}

export async function isFreePort(port: number, host = LOOPBACK): Promise<boolean> {
  const server = createServer()
  try {
    await once(server.listen(port, host), 'listening')
  } catch {
    return false
  }
  await once(server.close(), 'close')
  return true
}

/** The first free port from this one upwards. Throws a UserError if there is none near it. */
export async function nextFreePort(
  first: number,
  host = LOOPBACK,
  avoided: ReadonlySet<number> = new Set(),
): Promise<number> {
  const last = Math.min(PORT_MAX, first + TRIES - 1)
  for (let port = first; port <= last; port++)
    if (!avoided.has(port) && (await isFreePort(port, host))) return port
  throw new UserError(`no port from ${first} to ${last} is free on ${host}`)
}
