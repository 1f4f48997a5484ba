import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { after, before, describe, it } from 'node:test'
import fc from 'fast-check'
import { type Health, type MetricsServer, serveMetrics } from './metrics_server.ts'

/** Sends these bytes and gives back all that is answered. */
async function exchange(port: number, bytes: string | Uint8Array): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1' }).on('error', () => {})
  let text = ''
  socket.on('data', (piece: Buffer) => {
    text += piece.toString('latin1')
  })
  const closed = once(socket, 'close')
  socket.end(bytes)
  await closed
  return text
}

describe('what a host serves its monitors', () => {
  let health: Health = { isProtected: true, text: 'protected' }
  let server: MetricsServer
  let url: string
  const notices: string[] = []
  before(async () => {
    const source = { metrics: () => 'a_metric 1\n', health: () => health }
    server = (await serveMetrics(0, source, (text) => notices.push(text)))!
    url = `http://127.0.0.1:${server.port}`
  })
  after(() => server.close())

  const get = async (path: string, method = 'GET') => {
    const response = await fetch(`${url}${path}`, { method })
    return {
      status: response.status,
      type: response.headers.get('content-type'),
      text: await response.text(),
    }
  }

  it('is the metrics, with the type that Prometheus asks for', async () => {
    assert.deepEqual(await get('/metrics?debug=1'), {
      ...{ status: 200, type: 'text/plain; version=0.0.4; charset=utf-8', text: 'a_metric 1\n' },
    })
    assert.deepEqual((await get('/metrics', 'HEAD')).text, '')
  })

  it('is ready only while the machine is protected, and says why it is not; it lives all the same', async () => {
    assert.equal((await get('/readyz')).status, 200)
    health = { isProtected: false, text: 'not protected: backup lost' }
    const { status, text } = await get('/readyz')
    assert.deepEqual([status, text], [503, 'not protected: backup lost\n'])
    assert.equal((await get('/livez')).status, 200)
  })

  it('answers requests that ask for anything else, and does not do what they want', async () => {
    assert.equal((await get('/')).status, 404)
    assert.equal((await get('/metrics/..%2f..%2fetc/passwd')).status, 404)
    assert.equal((await get('/metrics', 'DELETE')).status, 405)
    const post = await fetch(`${url}/metrics`, { method: 'POST', body: 'x'.repeat(1 << 20) })
    assert.equal(post.status, 405)
    const { port } = server
    assert.match(await exchange(port, 'NO SUCH THING\r\n\r\n'), /^HTTP\/1\.1 400 /)
    assert.match(await exchange(port, `GET /${'x'.repeat(20_000)} HTTP/1.1\r\n\r\n`), /^HTTP\/1\.1 4\d\d /)
    assert.match(
      await exchange(port, `GET / HTTP/1.1\r\nhost: x\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`),
      /^HTTP\/1\.1 4\d\d /,
    )
  })

  it('goes on after bytes that are no request', async () => {
    const { port } = server
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
        const answer = await exchange(port, bytes)
        assert.ok(answer === '' || answer.startsWith('HTTP/1.1 4'), answer)
      }),
      { numRuns: 50 },
    )
    assert.equal((await get('/livez')).text, 'alive\n')
    assert.deepEqual(notices, [])
  })

  it('is left out, with a word, where its port is taken', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as { port: number }
    const said: string[] = []
    const source = { metrics: () => '', health: () => health }
    assert.equal(await serveMetrics(port, source, (text) => said.push(text)), undefined)
    assert.match(said[0]!, /^no metrics: .*EADDRINUSE/)
    other.close()
  })
})
