import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseSize } from './ext4.ts'
import { packageDatabase, parsePackageNames } from './packages.ts'
import { servicesOf } from './services.ts'

test('names that apt would read as something else are refused', () => {
  assert.deepEqual(parsePackageNames(['redis-server', 'g++', '7zip=25.01+dfsg-1', 'g++']), [
    '7zip=25.01+dfsg-1',
    'g++',
    'redis-server',
  ])
  for (const name of ['bash-', '-o', 'A', '', 'a b', 'a;b', 'bash/sid']) {
    assert.throws(() => parsePackageNames([name]), { name: 'UserError', message: /not the name/ })
  }
})

test('a package that the user asks for is not pretended to be there', () => {
  assert.match(packageDatabase([]), /^Provides: .*\bdpkg \(= /m)
  assert.doesNotMatch(packageDatabase(['dpkg']), /^Provides: .*\bdpkg \(= /m)
})

test('sizes are whole blocks within limits', () => {
  assert.equal(parseSize('1G'), 2 ** 30)
  assert.equal(parseSize('1.5GiB'), 1.5 * 2 ** 30)
  assert.equal(parseSize('100.1m') % 4096, 0)
  for (const text of ['1', '10M', '1000T', 'G', '-1G', '1e3G']) {
    assert.throws(() => parseSize(text), { name: 'UserError', message: /expected a size/ })
  }
})

test('a service comes with its package only', () => {
  assert.deepEqual(servicesOf(['bash']), [])
  assert.deepEqual(
    servicesOf(['bash', 'redis-server']).map((service) => service.port),
    [6379],
  )
})
