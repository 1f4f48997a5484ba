/**
 * What watches over a host asks it for, over HTTP on the loopback:
 *
 *     /metrics   its numbers, for Prometheus
 *     /livez     200: the process does its work
 *     /readyz    200 if the machine is protected, 503 with the reason if it is not
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { METRICS_CONTENT_TYPE } from './metrics.ts'

const LOOPBACK = '127.0.0.1'
const CONNECTIONS_MAX = 32
const HEADER_BYTES_MAX = 8192
const HEADERS_MAX = 64
/** Who does not get a request done by then is no monitor. */
const REQUEST_MS = 5000
const PLAIN = 'text/plain; charset=utf-8'

export interface Health {
  /** Whether either copy of the machine may die. */
  readonly isProtected: boolean
  /** The state and its reason, for people. */
  readonly text: string
}

export interface MetricsSource {
  metrics(): string
  health(): Health
}

export interface MetricsServer {
  readonly port: number
  close(): Promise<void>
}

interface Answer {
  readonly status: number
  readonly type?: string
  readonly text: string
}

/** Listens at `port`, 0 for any. Undefined, with a notice, if it cannot: a machine runs without being measured as well. */
export async function serveMetrics(
  port: number,
  source: MetricsSource,
  onNotice: (text: string) => void,
): Promise<MetricsServer | undefined> {
  const server = createServer({
    ...{ maxHeaderSize: HEADER_BYTES_MAX, headersTimeout: REQUEST_MS, requestTimeout: REQUEST_MS },
    ...{ keepAliveTimeout: REQUEST_MS, connectionsCheckingInterval: REQUEST_MS },
  })
  server.maxConnections = CONNECTIONS_MAX
  server.maxHeadersCount = HEADERS_MAX
  server.on('request', (request, response) => respond(request, response, source))
  server.on('clientError', (_, socket) => refuse(socket as Socket))
  try {
    await once(server.listen(port, LOOPBACK), 'listening')
  } catch (error) {
    onNotice(`no metrics: ${(error as Error).message}`)
    return undefined
  }
  server.on('error', (error) => onNotice(`metrics: ${error.message}`))
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      const closed = once(server.close(), 'close')
      server.closeAllConnections()
      await closed
    },
  }
}

function respond(request: IncomingMessage, response: ServerResponse, source: MetricsSource): void {
  const { status, type = PLAIN, text } = answerTo(request, source)
  const isWhole = request.headers['content-length'] === undefined && !request.headers['transfer-encoding']
  response.writeHead(status, {
    ...{ 'content-type': type, 'content-length': Buffer.byteLength(text), 'cache-control': 'no-store' },
    ...(status === 405 ? { allow: 'GET, HEAD' } : {}),
    // A body is not read: what comes after the answer would be taken for the next request.
    ...(isWhole ? {} : { connection: 'close' }),
  })
  response.end(request.method === 'HEAD' ? undefined : text)
}

function answerTo({ method, url = '' }: IncomingMessage, source: MetricsSource): Answer {
  if (method !== 'GET' && method !== 'HEAD') return { status: 405, text: 'GET and HEAD only\n' }
  switch (url.split('?', 1)[0]) {
    case '/metrics':
      return { status: 200, type: METRICS_CONTENT_TYPE, text: source.metrics() }
    case '/livez':
      return { status: 200, text: 'alive\n' }
    case '/readyz': {
      const { isProtected, text } = source.health()
      return { status: isProtected ? 200 : 503, text: `${text}\n` }
    }
    default:
      return { status: 404, text: 'there are /metrics, /livez and /readyz\n' }
  }
}

/** What is no HTTP gets one answer, and no second chance. */
function refuse(socket: Socket): void {
  if (!socket.writable) return void socket.destroy()
  socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n', () =>
    socket.destroy(),
  )
}
