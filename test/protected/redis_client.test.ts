import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { ConnectionError, RedisClient } from './redis_client.ts'
import { RedisError } from './resp.ts'

/** A client, and the other end of its connection. */
async function connected(context: TestContext): Promise<{ client: RedisClient; peer: Socket }> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const accepted = once(server, 'connection') as Promise<[Socket]>
  const client = await RedisClient.connect((server.address() as AddressInfo).port)
  const [peer] = await accepted
  peer.on('error', () => {})
  context.after(() => {
    client.close()
    peer.destroy()
    server.close()
  })
  return { client, peer }
}

test('answers come back to their commands in order, with their times', async (context) => {
  const { client, peer } = await connected(context)
  const [length, list, wrong] = [
    client.command('RPUSH', 'k', 'a'),
    client.command('LRANGE', 'k', '0', '-1'),
    client.command('NONSENSE'),
  ]
  peer.write(':1\r\n*1\r\n$1\r\na\r\n-ERR unknown command\r\n')
  await assert.rejects(wrong, (error: unknown) => error instanceof RedisError)
  assert.equal((await length).reply, 1)
  assert.deepEqual((await list).reply, ['a'])
  assert.ok((await length).returnMs >= (await length).callMs)
  assert.equal(client.connectionError, undefined)
})

test('a pipeline is one write, and has the answers in order', async (context) => {
  const { client, peer } = await connected(context)
  const answers = client.pipeline([
    ['INCR', 'k'],
    ['GET', 'k'],
  ])
  const [bytes] = (await once(peer, 'data')) as [Buffer]
  assert.match(bytes.toString(), /INCR.*GET/s)
  peer.write(':1\r\n$1\r\n1\r\n')
  assert.deepEqual(
    (await answers).map(({ reply }) => reply),
    [1, '1'],
  )
})

for (const [how, end] of [
  ['closed', (peer: Socket): unknown => peer.end()],
  ['reset', (peer: Socket): unknown => peer.resetAndDestroy()],
  ['answered with nonsense', (peer: Socket): unknown => peer.write('nonsense\r\n')],
  ['answered too often', (peer: Socket): unknown => peer.write(':1\r\n:2\r\n')],
] as const) {
  test(`a connection that is ${how} has a connection error, and takes no more commands`, async (context) => {
    const { client, peer } = await connected(context)
    const first = client.command('PING').catch((error: unknown) => error)
    const second = client.command('PING').catch((error: unknown) => error)
    await once(peer, 'data')
    if (how === 'answered too often') peer.write(':1\r\n')
    end(peer)
    await Promise.all([first, second])
    while (client.connectionError === undefined) await new Promise((resolve) => setImmediate(resolve))
    await assert.rejects(client.command('PING'), ConnectionError)
  })
}

test('closing by oneself is no connection error, but whoever waits hears of it', async (context) => {
  const { client } = await connected(context)
  const waiting = client.command('PING')
  client.close()
  await assert.rejects(waiting, ConnectionError)
  assert.equal(client.connectionError, undefined)
})

test('a port that nobody listens on is a connection error', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await once(server.close(), 'close')
  await assert.rejects(RedisClient.connect(port), ConnectionError)
})
