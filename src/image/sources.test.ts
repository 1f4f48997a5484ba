import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { UserError } from '../base/errors.ts'
import { chooseMirror, parseDeb822Sources, parseMirror, parseOneLineSources, readSources } from './sources.ts'

const ONE_LINE = `
# deb http://disabled.example/debian trixie main
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] http://packages.example/tool stable main
deb-src http://mirror.example/debian trixie main
deb http://mirror.example/debian/ bookworm main contrib # the one
deb http://mirror.example/debian-security bookworm-security main
`

const DEB822 = `# a comment
Types: deb deb-src
URIs: http://mirror.example/debian/
 http://second.example/debian
Suites: trixie trixie-updates
# inside a stanza
Components: main
 contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: trixie
Components: main

Types: deb-src
URIs: http://source.example/debian
Suites: trixie
Components: main
`

test('one-line sources are read without comments, options and source packages', () => {
  assert.deepEqual(parseOneLineSources(ONE_LINE), [
    { uri: 'http://packages.example/tool', suites: ['stable'], components: ['main'] },
    { uri: 'http://mirror.example/debian', suites: ['bookworm'], components: ['main', 'contrib'] },
    { uri: 'http://mirror.example/debian-security', suites: ['bookworm-security'], components: ['main'] },
  ])
})

test('deb822 stanzas are read with continued lines, and without disabled ones', () => {
  const expected = { suites: ['trixie', 'trixie-updates'], components: ['main', 'contrib'] }
  assert.deepEqual(parseDeb822Sources(DEB822), [
    { uri: 'http://mirror.example/debian', ...expected },
    { uri: 'http://second.example/debian', ...expected },
  ])
})

test('the mirror is the first source of a Debian release, not of its security updates or of another vendor', () => {
  const vendor = { uri: 'http://vendor.example/repository', suites: ['nodistro'], components: ['main'] }
  const security = {
    uri: 'http://a.example/debian-security',
    suites: ['trixie-security'],
    components: ['main'],
  }
  const release = { uri: 'http://a.example/debian', suites: ['sid', 'trixie'], components: ['main'] }
  assert.equal(chooseMirror([vendor, security, release]), release.uri)
})

test('a machine without a Debian source is told to name a mirror', () => {
  const ubuntu = { uri: 'http://archive.example/ubuntu', suites: ['noble'], components: ['main', 'universe'] }
  assert.throws(() => chooseMirror([ubuntu]), { name: 'UserError', message: /--mirror URL/ })
})

test('a third-party source on a suite called stable is not taken for Debian', () => {
  const browser = { uri: 'https://dl.example/linux/browser/deb', suites: ['stable'], components: ['main'] }
  assert.throws(() => chooseMirror([browser]), UserError)
})

test('all source files of a directory are read', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sources-'))
  try {
    mkdirSync(join(directory, 'sources.list.d'))
    writeFileSync(join(directory, 'sources.list'), 'deb http://one.example/debian trixie main\n')
    writeFileSync(join(directory, 'sources.list.d/b.sources'), DEB822)
    writeFileSync(join(directory, 'sources.list.d/a.list'), 'deb http://two.example/debian sid main\n')
    writeFileSync(join(directory, 'sources.list.d/c.list.off'), 'deb http://off.example/debian sid main\n')
    assert.deepEqual(
      readSources(directory).map((source) => source.uri),
      [
        'http://one.example/debian',
        'http://two.example/debian',
        'http://mirror.example/debian',
        'http://second.example/debian',
      ],
    )
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test('a mirror given by the user must be an address', () => {
  assert.equal(parseMirror('https://mirror.example/debian/'), 'https://mirror.example/debian')
  assert.equal(parseMirror('file:/srv/debian'), 'file:/srv/debian')
  for (const text of ['mirror.example', 'http://', 'http://a b/', 'ftp:x', 'http://x/"; Dir "/']) {
    assert.throws(() => parseMirror(text), {
      name: 'UserError',
      message: /expected the http:, https: or file:/,
    })
  }
})
