import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { UserError } from '../base/errors.ts'
import { parsePortForward, portForwardText } from './port_forward.ts'

describe('a port forward', () => {
  it('is of this host alone unless it says otherwise', () => {
    assert.deepEqual(parsePortForward('8080:80'), { hostAddress: '127.0.0.1', hostPort: 8080, guestPort: 80 })
    assert.deepEqual(parsePortForward('0.0.0.0:0:80'), { hostAddress: '0.0.0.0', hostPort: 0, guestPort: 80 })
    assert.deepEqual(parsePortForward('[::1]:443:443'), { hostAddress: '::1', hostPort: 443, guestPort: 443 })
  })

  it('is refused in one line that says what is wrong', () => {
    const cases: [string, RegExp][] = [
      ['80', /write \[HOST:\]PORT:GUESTPORT/],
      ['::1:80:80', /write \[HOST:\]PORT/],
      ['1:2:3:4', /write \[HOST:\]PORT/],
      ['localhost:80:80', /'localhost' is not an IPv4 address/],
      [':80:80', /'' is not an IPv4 address/],
      ['[1.2.3.4]:80:80', /'1\.2\.3\.4' is not an IPv6 address/],
      ['80:0', /'0' is not a port from 1 to 65535/],
      ['65536:80', /'65536' is not a port from 0 to 65535/],
      ['-1:80', /'-1' is not a port/],
      ['80:http', /'http' is not a port/],
      [':80', /'' is not a port/],
    ]
    for (const [text, message] of cases) {
      assert.throws(
        () => parsePortForward(text),
        (error) => error instanceof UserError && message.test(error.message) && !error.message.includes('\n'),
        text,
      )
    }
  })

  it('is read as it is written', () => {
    const host = fc.oneof(fc.ipV4(), fc.ipV6())
    const ports = fc.tuple(fc.nat({ max: 65_535 }), fc.integer({ min: 1, max: 65_535 }))
    fc.assert(
      fc.property(host, ports, (hostAddress, [hostPort, guestPort]) => {
        const forward = { hostAddress, hostPort, guestPort }
        assert.deepEqual(parsePortForward(portForwardText(forward)), forward)
      }),
    )
  })

  it('that is anything else is a UserError', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          parsePortForward(text)
        } catch (error) {
          assert.ok(error instanceof UserError)
        }
      }),
    )
  })
})
