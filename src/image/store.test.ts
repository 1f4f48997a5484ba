import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  cacheDirectory,
  commitImage,
  IMAGE_FILES,
  imageNames,
  imagesDirectory,
  listImages,
  openImage,
  parseImageName,
  parseManifest,
  removeImage,
  startImage,
  verifyImage,
  writeManifest,
} from './store.ts'

async function withHome(body: (environment: NodeJS.ProcessEnv) => Promise<void> | void): Promise<void> {
  const home = mkdtempSync(join(tmpdir(), 'images-'))
  try {
    await body({ UNDERSTUDY_HOME: home })
  } finally {
    rmSync(home, { recursive: true })
  }
}

async function storeImage(name: string, content: string, environment: NodeJS.ProcessEnv): Promise<void> {
  const directory = startImage(environment)
  for (const file of Object.values(IMAGE_FILES)) writeFileSync(join(directory, file), `${content} ${file}`)
  await writeManifest(directory, {
    name,
    created: '2026-01-01T00:00:00.000Z',
    system: 'Debian',
    kernelRelease: '6.12',
    commandLine: 'root=/dev/vda rw',
    requested: [],
    packages: [{ name: 'bash', version: '5' }],
  })
  commitImage(directory, name, environment)
}

test('an image is stored, listed, opened, verified and removed', () =>
  withHome(async (environment) => {
    await storeImage('work', 'first', environment)
    await storeImage('debian', 'first', environment)
    assert.deepEqual(
      listImages(environment).map((image) => image.name),
      ['debian', 'work'],
    )
    const image = openImage('work', environment)
    await verifyImage(image)
    assert.equal(image.manifest.files.kernel.bytes, 'first kernel'.length)
    assert.ok(existsSync(image.paths.disk))
    removeImage('work', environment)
    assert.deepEqual(imageNames(environment), ['debian'])
    assert.throws(() => removeImage('work', environment), { message: /no image 'work' \(there are debian\)/ })
  }))

test('an image of the same name is replaced, and nothing is left beside it', () =>
  withHome(async (environment) => {
    await storeImage('debian', 'first', environment)
    await storeImage('debian', 'the second', environment)
    assert.equal(openImage('debian', environment).manifest.files.disk.bytes, 'the second disk.ext4'.length)
    assert.deepEqual(readdirSync(imagesDirectory(environment)), ['debian'])
  }))

test('what a dead build left behind is removed by the next one', () =>
  withHome((environment) => {
    // No process has this number: it is above the largest that Linux gives.
    const left = join(imagesDirectory(environment), '.building-4194999')
    mkdirSync(left, { recursive: true })
    startImage(environment)
    assert.ok(!existsSync(left))
  }))

test('a truncated file and a changed file are found', () =>
  withHome(async (environment) => {
    await storeImage('debian', 'first', environment)
    const image = openImage('debian', environment)
    writeFileSync(image.paths.disk, 'FIRST disk.ext4')
    await assert.rejects(verifyImage(openImage('debian', environment)), {
      name: 'FormatError',
      message: /has changed/,
    })
    truncateSync(image.paths.kernel, 3)
    assert.throws(() => openImage('debian', environment), {
      name: 'FormatError',
      message: /3 bytes instead of 12/,
    })
  }))

test('a missing image names those that exist', () =>
  withHome((environment) => {
    assert.throws(() => openImage('debian', environment), { message: /there are none yet/ })
  }))

test('a manifest of another kind, version or shape is refused', () => {
  const file = (name: string) => ({ file: name, bytes: 1, sha256: '0'.repeat(64) })
  const manifest = {
    kind: 'understudy-image',
    version: 1,
    name: 'debian',
    created: '2026-01-01T00:00:00.000Z',
    system: 'Debian',
    kernelRelease: '6.12',
    commandLine: '',
    requested: [],
    packages: [],
    files: { kernel: file('kernel'), initramfs: file('initramfs'), disk: file('disk.ext4') },
  }
  assert.equal(parseManifest(JSON.stringify(manifest), 'm').name, 'debian')
  const refused: [object, RegExp][] = [
    [{ kind: 'other' }, /its kind/],
    [{ version: 2 }, /has version 2, this program reads version 1/],
    [{ name: 1 }, /name is not a text/],
    [{ packages: [{}] }, /packages is not/],
    [{ requested: [1] }, /requested is not/],
    [{ files: { ...manifest.files, kernel: file('../../etc/passwd') } }, /files.kernel/],
    [{ files: { ...manifest.files, disk: { ...file('disk.ext4'), sha256: 'x' } } }, /files.disk/],
  ]
  for (const [change, message] of refused) {
    assert.throws(() => parseManifest(JSON.stringify({ ...manifest, ...change }), 'm'), {
      name: 'FormatError',
      message,
    })
  }
  assert.throws(() => parseManifest('{', 'm'), { name: 'FormatError', message: /not JSON/ })
})

test('the directories follow the environment', () => {
  assert.equal(imagesDirectory({ HOME: '/h' }), '/h/.local/share/understudy/images')
  assert.equal(imagesDirectory({ HOME: '/h', XDG_DATA_HOME: '/d' }), '/d/understudy/images')
  assert.equal(imagesDirectory({ UNDERSTUDY_HOME: '/u', XDG_DATA_HOME: '/d' }), '/u/images')
  assert.equal(cacheDirectory({ HOME: '/h' }), '/h/.cache/understudy')
  assert.equal(cacheDirectory({ XDG_CACHE_HOME: '/c' }), '/c/understudy')
})

test('a name that would leave the directory is refused', () => {
  assert.equal(parseImageName('debian-13.1_x'), 'debian-13.1_x')
  for (const name of ['', '.', '..', '.hidden', 'a/b', '-x', 'a'.repeat(64)]) {
    assert.throws(() => parseImageName(name), { name: 'UserError' })
  }
})
