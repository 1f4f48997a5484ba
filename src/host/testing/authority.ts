/** Certificates for tests, made by openssl. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { assert } from '../../base/assert.ts'
import type { CredentialsOptions } from '../secure_credentials.ts'

export interface Authority {
  readonly caFile: string
  /** The files of a name, which trusts this authority or another one. */
  files(name: string, trusted?: string): CredentialsOptions
}

/** A certificate authority in a folder of its own, with certificates by name: each with the subject and names given. */
export function makeAuthority(folder: string, names: Readonly<Record<string, readonly string[]>>): Authority {
  const directory = mkdtempSync(join(folder, 'authority-'))
  const openssl = (...parameters: string[]): void => {
    const { status, stderr } = spawnSync('openssl', parameters, { cwd: directory, encoding: 'utf8' })
    assert(status === 0, `openssl: ${stderr}`)
  }
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=authority')
  for (const [name, alternatives] of Object.entries(names)) {
    openssl('req', ...key, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`)
    const extension = alternatives.length === 0 ? '' : `subjectAltName=${alternatives.join(',')}\n`
    writeFileSync(join(directory, `${name}.ext`), extension)
    const signed = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', `${name}.ext`]
    openssl('x509', '-req', '-in', `${name}.csr`, '-out', `${name}.pem`, ...signed)
  }
  const caFile = join(directory, 'ca.pem')
  return {
    caFile,
    files: (name, trusted = caFile) => ({
      caFile: trusted,
      certificateFile: join(directory, `${name}.pem`),
      keyFile: join(directory, `${name}.key`),
    }),
  }
}
