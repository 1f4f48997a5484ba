/** Ports of the loopback that nobody uses at the moment. Somebody may take one before it is used: nothing is reserved. */
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { UserError } from '../../base/errors.ts'

const LOOPBACK = '127.0.0.1'
const PORT_MAX = 65_535
/** How many ports are tried in a row. */
const TRIES = 200

/** Any ports, all different. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, LOOPBACK))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => once(server.close(), 'close')))
  return ports
}

export async function isFreePort(port: number): Promise<boolean> {
  const server = createServer()
  try {
    await once(server.listen(port, LOOPBACK), 'listening')
  } catch {
    return false
  }
  await once(server.close(), 'close')
  return true
}

/** The first free port from this one upwards. Throws a UserError if there is none near it. */
export async function nextFreePort(first: number): Promise<number> {
  const last = Math.min(PORT_MAX, first + TRIES - 1)
  for (let port = first; port <= last; port++) if (await isFreePort(port)) return port
  throw new UserError(`no port from ${first} to ${last} is free on ${LOOPBACK}`)
}
