import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ConsoleHub } from './console_hub.ts'

const output = (ordinal: bigint, text: string) => ({
  ...{ index: 1n, port: 0, ordinal },
  bytes: Uint8Array.from(Buffer.from(text)),
})

function listen(hub: ConsoleHub): { text: string; stop: () => void } {
  const heard = { text: '', stop: () => {} }
  heard.stop = hub.listen(({ bytes }) => {
    heard.text += Buffer.from(bytes).toString()
  })
  return heard
}

test('whoever comes later hears what was kept, and then what follows', () => {
  const hub = new ConsoleHub()
  hub.attach(1)
  hub.put(output(5n, 'hello'))
  const heard = listen(hub)
  hub.put(output(7n, '!\n'))
  assert.equal(heard.text, 'hello!\n')
  heard.stop()
  hub.put(output(8n, 'x'))
  assert.equal(heard.text, 'hello!\n')
})

test('what is put out again in the same life is heard once; another life begins anew', () => {
  const hub = new ConsoleHub()
  const heard = listen(hub)
  hub.attach(1)
  hub.put(output(5n, 'hello'))
  hub.put(output(5n, 'hello'))
  hub.attach(1)
  hub.put(output(5n, 'hello'))
  hub.attach(2)
  hub.put(output(3n, 'new'))
  assert.equal(heard.text, 'hellonew')
})

test('only so much is kept', () => {
  const hub = new ConsoleHub()
  hub.attach(1)
  for (let i = 1n; i <= 200n; i++) hub.put(output(i * 1024n, 'x'.repeat(1024)))
  assert.ok(listen(hub).text.length <= 64 * 1024)
})
