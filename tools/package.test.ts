import assert from 'node:assert/strict'
import { test } from 'node:test'
import { rewriteModuleUrls, strayPaths } from './package.ts'

test('the URL of a module points at the compiled file', () => {
  const source = `new Worker(new URL('../host/worker.ts', import.meta.url), { name: "a.ts" })`
  assert.equal(
    rewriteModuleUrls(source),
    `new Worker(new URL('../host/worker.js', import.meta.url), { name: "a.ts" })`,
  )
})

test('a path to a TypeScript file in any other form is found', () => {
  assert.deepEqual(strayPaths(`new Worker('./worker.ts')\nfork(\`./child.ts\`)\n// './comment.ts'`), [
    './worker.ts',
    './child.ts`',
  ])
  assert.deepEqual(strayPaths(`import './a.js'\nconst name = 'a.ts'`), [])
})
