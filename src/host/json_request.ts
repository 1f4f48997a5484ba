/** One POST of JSON over HTTP or HTTPS, with a bounded answer. */
import { type Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { JsonObject } from '../base/canonical_json.ts'
import { UserError } from '../base/errors.ts'

/** Where and how a request is sent. */
export interface JsonRequest {
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly body: JsonObject
  readonly agent: Agent
  readonly signal: AbortSignal
}

export interface JsonResponse {
  readonly status: number
  readonly body: JsonObject
}

/** Many times what a decision takes. */
const RESPONSE_BYTES_MAX = 256 << 10

/** Rejects with the network's error, with that of the signal, or with a UserError about what was received. */
export async function postJson(request: JsonRequest): Promise<JsonResponse> {
  for (;;) {
    const sent = send(request)
    try {
      const response = await responseOf(sent)
      return { status: response.statusCode ?? 0, body: parse(await textOf(response)) }
    } catch (error) {
      // The server had closed a connection that was kept for the next request: the next one may be new.
      const isStale = sent.reusedSocket && isConnectionLoss(error)
      if (!isStale || request.signal.aborted) throw error
    }
  }
}

function send({ url, headers, body, agent, signal }: JsonRequest): ClientRequest {
  const text = JSON.stringify(body)
  const request = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) },
    agent,
    signal,
  })
  request.end(text)
  return request
}

function responseOf(request: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.on('response', resolve)
    request.on('error', reject)
  })
}

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length > RESPONSE_BYTES_MAX) throw new UserError(`more than ${RESPONSE_BYTES_MAX} bytes of answer`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

function parse(text: string): JsonObject {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    // Refused below.
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject
  throw new UserError(`no JSON object but '${text.slice(0, 60).replace(/[^ -~]/g, ' ')}'`)
}

function isConnectionLoss(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return code === 'ECONNRESET' || code === 'EPIPE'
}
