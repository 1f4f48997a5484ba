/**
 * What two processes show each other before they talk: TLS in which both sides prove who they are.
 *
 * - By a **secret** that the hosts share (TLS 1.2 with ECDHE-PSK; TLS 1.3 has pre-shared keys too, but Node hands them
 *   only to 1.2). The key of a connection is derived from the secret and both names, so that a connection to B cannot be
 *   led to anybody else who knows the secret, nor back to oneself. Whoever knows the secret can call itself anything.
 * - By **certificates** of an authority (TLS 1.3). A peer has the names that its certificate says: the DNS names of its
 *   subject alternative name, or the common name if there are none.
 */
import { constants, createPrivateKey, hkdfSync, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import {
  connect,
  createSecureContext,
  createServer,
  type SecureContext,
  type SecureContextOptions,
  type Server,
  type TLSSocket,
} from 'node:tls'
import { assert } from '../base/assert.ts'
import { UserError } from '../base/errors.ts'
import { fileError } from './file_error.ts'
import { openSecret } from './secure_secret.ts'

/** Either the file of the shared secret, made if it is missing, or PEM files. */
export type CredentialsOptions =
  | { readonly secretFile: string }
  | { readonly caFile: string; readonly certificateFile: string; readonly keyFile: string }

/** Where a connection goes, and between whom. */
export interface Route {
  readonly name: string
  readonly peerName: string
  readonly host: string
  readonly port: number
}

export interface Credentials {
  /** A TLS server that lets in only those who prove themselves; it does not listen yet. */
  createServer(name: string, timeoutMs: number): Server
  connect(route: Route): TLSSocket
  /** Whether TLS has proved that the other end of an open connection is `name`. */
  isPeer(socket: TLSSocket, name: string): boolean
}

/** Fit for a certificate and for a line of a log. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/

/** Whether a text can name an end of a channel. */
export function isPeerName(text: string): boolean {
  return NAME.test(text)
}

const KEEP_ALIVE_MS = 5000
const TCP_OPTIONS = { noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS } as const
/** Sessions are not resumed: each connection proves itself anew. */
const SECURE_OPTIONS = constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION

/** Opens what is in the files. Throws a UserError that names the file if it cannot be used. */
export async function openCredentials(options: CredentialsOptions): Promise<Credentials> {
  if ('secretFile' in options) return new SecretCredentials(await openSecret(options.secretFile))
  const { caFile, certificateFile, keyFile } = options
  const [ca, cert, key] = await Promise.all([caFile, certificateFile, keyFile].map(readPem))
  checkPem(caFile, () => new X509Certificate(ca!))
  checkPem(certificateFile, () => new X509Certificate(cert!))
  checkPem(keyFile, () => createPrivateKey(key!))
  checkPem(`${certificateFile} with ${keyFile}`, () => createSecureContext({ ca, cert, key }))
  return new CertificateCredentials({ ca: ca!, cert: cert!, key: key! })
}

async function readPem(path: string): Promise<string> {
  try {
    return await readFile(path, 'latin1')
  } catch (error) {
    throw fileError(error, 'read', path)
  }
}

function checkPem(path: string, use: () => unknown): void {
  try {
    use()
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error)
    throw new UserError(`${path}: not what it should be (${problem}): make it anew in PEM`, { cause: error })
  }
}

/** Ephemeral keys (a secret that becomes known later opens no recording) and an authenticated cipher. */
const SECRET_TLS = {
  minVersion: 'TLSv1.2',
  maxVersion: 'TLSv1.2',
  ciphers: 'ECDHE-PSK-CHACHA20-POLY1305',
  secureOptions: SECURE_OPTIONS,
} as const

class SecretCredentials implements Credentials {
  readonly #secret: Uint8Array
  /** For all connections: making one takes longer than the rest of a handshake. */
  readonly #context = createSecureContext(SECRET_TLS)
  readonly #peers = new WeakMap<TLSSocket, string>()

  constructor(secret: Uint8Array) {
    this.#secret = secret
  }

  createServer(name: string, timeoutMs: number): Server {
    return createServer({
      ...SECRET_TLS,
      ...TCP_OPTIONS,
      handshakeTimeout: timeoutMs,
      pskCallback: (socket, identity) => {
        if (!isPeerName(identity)) return null
        this.#peers.set(socket, identity)
        return this.#key(identity, name)
      },
    })
  }

  connect({ name, peerName, host, port }: Route): TLSSocket {
    const socket = connect({
      ...TCP_OPTIONS,
      secureContext: this.#context,
      host,
      port,
      pskCallback: () => ({ psk: this.#key(name, peerName), identity: name }),
      // There is no certificate: the key has both names in it.
      checkServerIdentity: () => undefined,
    })
    this.#peers.set(socket, peerName)
    return socket
  }

  isPeer(socket: TLSSocket, name: string): boolean {
    return this.#peers.get(socket) === name
  }

  #key(client: string, server: string): Uint8Array {
    const purpose = `understudy channel 1\0${client}\0${server}`
    return new Uint8Array(hkdfSync('sha256', this.#secret, '', purpose, 32))
  }
}

interface Pem {
  readonly ca: string
  readonly cert: string
  readonly key: string
}

class CertificateCredentials implements Credentials {
  readonly #options: SecureContextOptions
  readonly #context: SecureContext

  constructor(pem: Pem) {
    this.#options = { ...pem, minVersion: 'TLSv1.3', secureOptions: SECURE_OPTIONS }
    this.#context = createSecureContext(this.#options)
  }

  createServer(_name: string, timeoutMs: number): Server {
    return createServer({
      ...this.#options,
      ...TCP_OPTIONS,
      handshakeTimeout: timeoutMs,
      requestCert: true,
      rejectUnauthorized: true,
    })
  }

  connect({ host, port }: Route): TLSSocket {
    return connect({
      ...TCP_OPTIONS,
      secureContext: this.#context,
      host,
      port,
      rejectUnauthorized: true,
      // The address is nobody's name; isPeer looks whose certificate it is.
      checkServerIdentity: () => undefined,
    })
  }

  isPeer(socket: TLSSocket, name: string): boolean {
    assert(socket.authorized, 'a peer that TLS has not verified')
    const certificate = socket.getPeerX509Certificate()
    // checkHost ignores case and returns the name as the certificate has it.
    return certificate?.checkHost(name, { subject: 'default', wildcards: false }) === name
  }
}
