import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { type Finding, findingsTable, isMissing } from './doctor_finding.ts'
import { directoryFacts, protectedFindings, tunFacts } from './doctor_protected.ts'

describe('what protected machines need', () => {
  let directory: string
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'understudy-doctor-'))
  })
  after(() => rmSync(directory, { recursive: true, force: true }))

  it('is looked for, each thing with what was found, and a remedy where it is not there', async () => {
    const findings = await protectedFindings()
    assert.deepEqual(
      findings.map(({ name }) => name),
      ['loopback ports', 'state directory', 'processor cores', 'TAP', 'etcd'],
    )
    for (const { ok, found, remedy } of findings) {
      assert.ok(found !== '')
      assert.equal(remedy === '', ok)
    }
  })

  it('is a place to write, which may not be there so far', () => {
    assert.equal(directoryFacts(join(directory, 'not', 'yet')).ok, true)
    const isRoot = process.getuid?.() === 0
    chmodSync(directory, 0o500)
    // Root may write everywhere.
    assert.equal(directoryFacts(join(directory, 'not', 'yet')).ok, isRoot)
    chmodSync(directory, 0o700)
  })

  it('is no device, if guests use the gateway', () => {
    const path = join(directory, 'tun')
    const { ok, found } = tunFacts(path)
    assert.equal(ok, false)
    assert.match(found, /tun cannot be opened \(ENOENT\)/)
    writeFileSync(path, '')
    assert.equal(tunFacts(path).ok, true)
  })
})

describe('the table of findings', () => {
  const finding = (name: string, ok: boolean, optional: boolean): Finding => ({
    ...{ name, neededFor: 'protected machines', ok, found: 'x', remedy: ok ? '' : 'do it' },
    ...(optional ? { optional: true } : {}),
  })

  it('counts what is missing, and not what some can do without', () => {
    const findings = [
      finding('one', true, false),
      finding('two', false, true),
      finding('three', false, false),
    ]
    assert.deepEqual(findings.map(isMissing), [false, false, true])
    const text = findingsTable(findings)
    assert.match(text, /ok {7}one {4}x\n {2}without {2}two {4}x\n {18}-> do it\n {2}MISSING {2}three {2}x\n/)
    assert.match(text, /\n1 missing\.\n$/)
    assert.match(findingsTable(findings.slice(0, 2)), /\nNothing is missing\.\n$/)
  })
})
