import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, test } from 'node:test'
import { UserError } from '../base/errors.ts'
import { EtcdClient, type EtcdLogin } from './etcd_client.ts'

/** Far above what an answer takes on a busy machine; and, where there is none, short. */
const PATIENT_MS = 20_000
const HASTY_MS = 400

const servers: Server[] = []
const clients: EtcdClient[] = []
afterEach(() => {
  for (const client of clients.splice(0)) client.close()
  for (const server of servers.splice(0)) server.close().closeAllConnections()
})

type Handler = (path: string, response: ServerResponse, request: IncomingMessage) => void

async function serve(handler: Handler): Promise<URL> {
  const server = createServer((request, response) => handler(request.url!, response, request))
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
}

function clientOf(endpoints: readonly URL[], login?: EtcdLogin, timeoutMs = PATIENT_MS): EtcdClient {
  const client = new EtcdClient({ endpoints, login, tls: undefined, timeoutMs })
  clients.push(client)
  return client
}

const answer = (response: ServerResponse, body: object, status = 200): void => {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
const good: Handler = (_path, response) => answer(response, { is: 'good' })

/** What servers do that are out of order, and how it is told. */
const faults: readonly [string, Handler, RegExp][] = [
  ['closes', (_path, response) => response.destroy(), /socket hang up/],
  ['says nothing', () => {}, /no answer within 400 ms/],
  ['stops in the middle', (_path, response) => response.write('{"a"'), /no answer within 400 ms/],
  ['speaks something else', (_path, response) => response.end('<html>\n'), /no JSON object but '<html> '/],
  ['answers an array', (_path, response) => response.end('[]'), /no JSON object/],
  [
    'never ends',
    (_path, response) => response.end(`"${'x'.repeat(1 << 20)}"`),
    /more than 262144 bytes of answer/,
  ],
  [
    'has no leader',
    (_path, response) => answer(response, { code: 14, message: 'no leader' }, 503),
    /503: no leader/,
  ],
  ['is too old', (_path, response) => answer(response, {}, 404), /is it etcd 3\.4 or newer/],
]

for (const [what, handler, reason] of faults) {
  test(`an endpoint that ${what} is told, and the next one asked`, async () => {
    const bad = await serve(handler)
    const timeoutMs = reason.source.startsWith('no answer') ? HASTY_MS : PATIENT_MS
    await assert.rejects(clientOf([bad], undefined, timeoutMs).call('/v3/kv/range', {}), (error) => {
      assert.ok(error instanceof UserError, String(error))
      assert.ok(error.message.startsWith(`${bad.host}: `), error.message)
      assert.match(error.message, reason)
      return true
    })
    assert.deepEqual(
      await clientOf([bad, await serve(good)], undefined, timeoutMs).call('/v3/kv/range', {}),
      { is: 'good' },
    )
  })
}

test('the endpoint that answered is asked first from then on, and each other one once', async () => {
  const asked: string[] = []
  let isDown = false
  const serveAs = (name: string): Promise<URL> =>
    serve((path, response, request) => {
      asked.push(name)
      if (name === 'a' || isDown) response.destroy()
      else good(path, response, request)
    })
  const [a, b, c] = [await serveAs('a'), await serveAs('b'), await serveAs('c')]
  const client = clientOf([a, b, c])
  await client.call('/', {})
  await client.call('/', {})
  assert.deepEqual(asked.splice(0), ['a', 'b', 'b'])
  isDown = true
  await assert.rejects(
    client.call('/', {}),
    new RegExp(`^UserError: ${b.host}: .*; ${c.host}: .*; ${a.host}: `),
  )
  assert.deepEqual([...new Set(asked)], ['b', 'c', 'a'])
})

test('a kept connection that turns out to be closed is no fault', async () => {
  const seen = new Set<object>()
  let broken = 0
  const url = await serve((path, response, request) => {
    if (!seen.has(request.socket)) {
      seen.add(request.socket)
      return good(path, response, request)
    }
    broken++
    request.socket.destroy()
  })
  const client = clientOf([url])
  for (let i = 0; i < 4; i++) assert.deepEqual(await client.call('/', {}), { is: 'good' })
  assert.ok(broken > 0)
})

test('a token is asked for once, and again when it is refused', async () => {
  let [tokens, calls] = [0, 0]
  let valid = ''
  const url = await serve(async (path, response, request) => {
    if (path === '/v3/auth/authenticate') {
      let text = ''
      for await (const chunk of request) text += chunk
      assert.deepEqual(JSON.parse(text), { name: 'u', password: 'p' })
      valid = `token ${++tokens}`
      return answer(response, { token: valid })
    }
    calls++
    if (request.headers.authorization === valid) return answer(response, {})
    answer(response, { code: 16, message: 'etcdserver: invalid auth token' }, 401)
  })
  const client = clientOf([url], { user: 'u', password: 'p' })
  await Promise.all([client.call('/x', {}), client.call('/x', {}), client.call('/x', {})])
  assert.deepEqual([tokens, calls], [1, 3])
  valid = 'forgotten'
  await client.call('/x', {})
  assert.deepEqual([tokens, calls], [2, 5])
  await clientOf([url], { user: 'u', password: 'p' }).call('/x', {})
  assert.equal(tokens, 3)
})

test('a token that is refused again and again is an answer, not a loop', async () => {
  let calls = 0
  const url = await serve((path, response) => {
    calls++
    if (path === '/v3/auth/authenticate') answer(response, { token: 't' })
    else answer(response, { code: 16, message: 'etcdserver: invalid auth token' }, 401)
  })
  await assert.rejects(
    clientOf([url], { user: 'u', password: 'p' }).call('/x', {}),
    /status 401: .*invalid auth token/,
  )
  assert.equal(calls, 4)
})

test('a closed client gives up what is under way', async () => {
  const client = clientOf([await serve(() => {})])
  const call = client.call('/', {})
  client.close()
  await assert.rejects(call, /^UserError: closed/)
})
