import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { UserError } from '../base/errors.ts'
import { type EtcdOptions, openArbiter } from './open_arbiter.ts'

const directory = mkdtempSync(join(tmpdir(), 'open-arbiter-'))
after(() => rmSync(directory, { recursive: true }))

test('a directory and etcd are opened, and nothing is asked of them yet', async () => {
  for (const spec of [`file:${directory}`, 'etcd:http://127.0.0.1:1,https://[::1]:2,http://example.org:3']) {
    const { arbiter } = await openArbiter(spec, 'm')
    arbiter.close()
  }
})

test('what cannot be opened is refused in words', async () => {
  const pem = join(directory, 'not.pem')
  writeFileSync(pem, 'x')
  const login = { user: 'u', password: 'p' }
  const cases: [spec: string, machine: string, RegExp, EtcdOptions?][] = [
    ['', 'm', /^arbiter '': write file:DIR or etcd:URL/],
    ['zookeeper:x', 'm', /^arbiter 'zookeeper:x': write file:DIR/],
    ['/some/dir', 'm', /^arbiter '\/some\/dir': write file:DIR/],
    ['file:', 'm', /^arbiter 'file:': nothing after the colon/],
    ['file:x', '../m', /^machine name '\.\.\/m': it takes 1 to 63 letters/],
    ['etcd:', 'm', /nothing after the colon/],
    ['etcd:127.0.0.1:2379', 'm', /^etcd endpoint '127\.0\.0\.1:2379': not a URL such as https:/],
    ['etcd:http://a,', 'm', /^etcd endpoint '': not a URL/],
    ['etcd:http://a/v3', 'm', /nothing may follow the port/],
    ['etcd:http://u:p@a', 'm', /^etcd endpoint a: everybody can read a password here/],
    ['etcd:http://a', 'm', /a password would travel readably: use https/, { login }],
    ['etcd:http://a', 'm', /^etcd prefix '': not 1 to 128/, { prefix: '' }],
    ['etcd:https://a', 'm', /a client certificate and its key go together/, { keyFile: pem }],
    [
      'etcd:https://a',
      'm',
      /^cannot read .*none\.pem: no such file/,
      { caFile: join(directory, 'none.pem') },
    ],
    [
      'etcd:https://a',
      'm',
      /^etcd certificates \(.*not\.pem, .*not\.pem\): /,
      { keyFile: pem, certificateFile: pem },
    ],
  ]
  for (const [spec, machine, message, etcd = {}] of cases) {
    await assert.rejects(openArbiter(spec, machine, { etcd }), (error) => {
      assert.ok(error instanceof UserError, String(error))
      assert.match(error.message, message)
      return true
    })
  }
})
