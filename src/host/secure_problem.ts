/** What TLS says about a connection that did not come about, in words for the log. */

const PROBLEMS: readonly (readonly [RegExp, string])[] = [
  [/BAD_RECORD_MAC|DECRYPT/i, 'the shared secret is not the same on both sides, or another name was dialled'],
  [/UNKNOWN_PSK_IDENTITY|PSK_IDENTITY_NOT_FOUND/i, 'it has no name'],
  [
    /NO_SHARED_CIPHER|HANDSHAKE_FAILURE|NO_CIPHERS|UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION/i,
    'only one side uses certificates',
  ],
  [/DID_NOT_RETURN_A_CERTIFICATE|CERTIFICATE_REQUIRED/i, 'it shows no certificate'],
  [/CERT|SELF_SIGNED|UNABLE_TO|UNKNOWN_CA/i, 'its certificate, or ours there, is not accepted'],
  [/ECONNRESET|EPIPE|socket hang up/i, 'the connection was closed'],
  [/ERR_TLS_HANDSHAKE_TIMEOUT/, 'TLS took too long'],
  [/ECONNREFUSED/, 'no process listens there'],
]

/** One line about an error of a socket, with the error's code where that says more. */
export function tlsProblem(error: unknown): string {
  const code = codeOf(error)
  const known = PROBLEMS.find(([pattern]) => pattern.test(code))
  return known === undefined ? code : `${known[1]} (${code})`
}

/** Whether the system says that no process listens there, at none of the name's addresses. */
export function isConnectionRefused(error: unknown): boolean {
  if (error instanceof AggregateError)
    return error.errors.length > 0 && error.errors.every(isConnectionRefused)
  return codeOf(error) === 'ECONNREFUSED'
}

/** Whether the other side's system has cut the connection. */
export function isConnectionReset(error: unknown): boolean {
  return codeOf(error) === 'ECONNRESET'
}

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return 'code' in error && typeof error.code === 'string' ? error.code : error.message
}
