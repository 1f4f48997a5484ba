import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isHostName } from '../node/host/daemon_protocol.ts'
import { computerName } from './daemon_session.ts'

test("a computer's name is made fit for a host, whatever it is", () => {
  assert.equal(computerName('db-1.example.org'), 'db-1.example.org')
  assert.equal(computerName('böse maschine'), 'b-se-maschine')
  assert.equal(computerName('-a'), 'a')
  for (const name of ['', '---', 'operator', 'gateway', 'host-daemon'])
    assert.equal(computerName(name), 'host')
  assert.ok(isHostName(computerName('x'.repeat(200))))
})
