import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { checkHistory } from './check_history.ts'
import { requireGoodAnswers, Workload, type WorkloadResult } from './workload.ts'

type Lists = Map<string, string[]>

/** A way of going wrong: does a push to a list, and gives the answer; or undefined to do it rightly. */
type Push = (list: string[], value: string, count: number) => number | undefined

/** As much of Redis as the workload uses. */
async function serve(context: TestContext, wrongly: Push = () => undefined): Promise<Server> {
  const lists: Lists = new Map()
  let pushes = 0
  const answer = ([name, key, ...words]: readonly string[]): string => {
    const list = lists.get(key!) ?? []
    lists.set(key!, list)
    if (name === 'RPUSH') return `:${wrongly(list, words[0]!, ++pushes) ?? list.push(words[0]!)}\r\n`
    const shown = list.slice(Number(words[0]))
    return `*${shown.length}\r\n${shown.map((value) => `$${value.length}\r\n${value}\r\n`).join('')}`
  }
  const server = createServer((socket) => {
    socket.on('error', () => {})
    // Without pipelining a command is a piece of its own.
    socket.on('data', (bytes) => socket.write(answer(wordsIn(bytes.toString()))))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  context.after(() => server.close())
  return server
}

const wordsIn = (command: string): string[] => command.split('\r\n').filter((_, i) => i > 0 && i % 2 === 0)

async function work(server: Server, operations: number): Promise<WorkloadResult> {
  const { port } = server.address() as AddressInfo
  const workload = await Workload.start({ port, name: 'test', connections: 4, pauseMs: 0 })
  while (workload.operations < operations && workload.connectionErrors.length === 0)
    await new Promise((resolve) => setImmediate(resolve))
  return workload.finish(10_000)
}

test('a server that does what it says passes, over many lists', async (context) => {
  const result = await work(await serve(context), 1000)
  requireGoodAnswers(result)
  const { faults, keys, operations } = checkHistory(result.history)
  assert.deepEqual(faults, [])
  assert.ok(keys > 6 && operations >= 1000)
})

for (const [what, push, found] of [
  ['loses a write that it has acknowledged', (list) => list.length + 1, /lost write/],
  ['does a write twice', (list, value) => list.push(value, value), /doubled write/],
  ['puts a write elsewhere', (list, value) => list.unshift(value), /moved write/],
] as const satisfies readonly (readonly [string, Push, RegExp])[]) {
  test(`a server that ${what}, once, does not pass`, async (context) => {
    const once: Push = (list, value, count) => {
      // Late enough in a list for its place to matter, and before the last write to it.
      return count === 100 ? push(list, value) : undefined
    }
    const result = await work(await serve(context, once), 600)
    const { faults } = checkHistory(result.history)
    assert.match(faults.join('\n'), found)
    assert.match(faults.join('\n'), /not linearizable/)
  })
}

test('a connection that is reset is a connection error, and its operation stays open', async (context) => {
  const server = await serve(context)
  const sockets: Socket[] = []
  server.on('connection', (socket) => sockets.push(socket))
  const { port } = server.address() as AddressInfo
  const workload = await Workload.start({ port, name: 'test', connections: 2, pauseMs: 0 })
  while (workload.operations < 50) await new Promise((resolve) => setImmediate(resolve))
  sockets[0]!.pause().removeAllListeners('data').resetAndDestroy()
  while (workload.connectionErrors.length === 0) await new Promise((resolve) => setImmediate(resolve))
  const result = await workload.finish(10_000)
  assert.throws(() => requireGoodAnswers(result))
  assert.match(checkHistory(result.history).faults.join(), /1 operations were never answered/)
})

test('no more clients connect at once than the backlog of a server takes', async (context) => {
  const server = await serve(context)
  let [unanswered, most] = [0, 0]
  server.on('connection', (socket) => {
    most = Math.max(most, ++unanswered)
    socket.cork()
    setTimeout(() => {
      unanswered--
      socket.uncork()
    }, 100)
  })
  const { port } = server.address() as AddressInfo
  const workload = await Workload.start({ port, name: 'test', connections: 250, pauseMs: 0 })
  while (workload.operations < 250) await new Promise((resolve) => setImmediate(resolve))
  requireGoodAnswers(await workload.finish(10_000))
  assert.ok(most <= 100, `${most} at once`)
})

test('an operation that is never answered is given up in the end, and does not pass', async (context) => {
  const server = createServer((socket) => socket.on('error', () => {}).resume()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  context.after(() => server.close())
  const { port } = server.address() as AddressInfo
  const workload = await Workload.start({ port, name: 'test', connections: 2 })
  const { history, connectionErrors } = await workload.finish(100)
  assert.deepEqual(connectionErrors, [])
  assert.match(checkHistory(history).faults.join(), /2 operations were never answered/)
})
