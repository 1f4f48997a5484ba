import assert from 'node:assert/strict'
import { networkInterfaces } from 'node:os'
import { describe, it } from 'node:test'
import { UserError } from '../base/errors.ts'
import { Outbound, parseDnsServer } from './outbound.ts'
import { ipv4FromText } from './stack/address.ts'

const address = (text: string): number => ipv4FromText(text)!

function outbound(allowLoopback: boolean): (to: string, port?: number) => string {
  const addresses = { guestAddress: address('10.0.2.15'), gatewayAddress: address('10.0.2.2') }
  const dnsServers = [{ host: '9.9.9.9', port: 53 }]
  const rest = { dnsAddress: address('10.0.2.3'), prefix: 24, dnsServers }
  const policy = new Outbound({ ...addresses, ...rest, allowLoopback })
  return (to, port = 80) => {
    const destination = policy.destination(address(to), port)
    return destination === undefined ? 'refused' : `${destination.host}:${destination.port}`
  }
}

describe('where a guest may connect to', () => {
  it('is the world, but not what no single host has, nor what is not there', () => {
    for (const allowLoopback of [false, true]) {
      const to = outbound(allowLoopback)
      assert.equal(to('93.184.216.34'), '93.184.216.34:80')
      for (const none of ['224.0.0.1', '255.255.255.255', '240.0.0.1', '10.0.2.77', '10.0.2.255', '10.0.2.3'])
        assert.equal(to(none), 'refused', none)
      assert.equal(to('93.184.216.34', 0), 'refused')
      assert.equal(to('10.0.2.3', 53), '9.9.9.9:53')
    }
  })

  it('is the host itself, its own link and the metadata of its cloud only where that is allowed', () => {
    const own = Object.values(networkInterfaces())
      .flatMap((all) => all ?? [])
      .filter(({ family }) => family === 'IPv4')
      .map((each) => each.address)
    assert.ok(own.length > 0)
    const near = ['169.254.169.254', '169.254.0.1', '169.254.255.254', '168.63.129.16', '100.100.100.200']
    for (const host of [...own, ...near, '127.0.0.1', '127.9.9.9', '0.0.0.0', '0.0.0.1']) {
      assert.equal(outbound(false)(host), 'refused', host)
      assert.equal(outbound(true)(host), `${host}:80`)
    }
    for (const beside of ['169.253.255.255', '169.255.0.0'])
      assert.equal(outbound(false)(beside), `${beside}:80`)
    assert.equal(outbound(false)('10.0.2.2'), 'refused')
    assert.equal(outbound(true)('10.0.2.2'), '127.0.0.1:80')
  })
})

describe('a name server', () => {
  it('is an address, with a port where it is not 53', () => {
    assert.deepEqual(parseDnsServer('1.1.1.1'), { host: '1.1.1.1', port: 53 })
    assert.deepEqual(parseDnsServer('1.1.1.1:5353'), { host: '1.1.1.1', port: 5353 })
    assert.deepEqual(parseDnsServer('::1'), { host: '::1', port: 53 })
    assert.deepEqual(parseDnsServer('[::1]:5353'), { host: '::1', port: 5353 })
    assert.deepEqual(parseDnsServer('fe80::1%eth0'), { host: 'fe80::1%eth0', port: 53 })
    for (const text of ['', 'one.one', '1.1.1.1:0', '1.1.1.1:70000', '[1.1.1.1', '1.1.1.1:x'])
      assert.throws(() => parseDnsServer(text), UserError, text)
  })
})
