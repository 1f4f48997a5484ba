/** The layers of `src/` and beside it, and the directions in which they may import. */

export interface Layer {
  /** No I/O, no clock, no promises: the same input always gives the same result. */
  readonly pure: boolean
  readonly imports: readonly string[]
  /** Layers of which it may import types only: it implements the ports that they declare. */
  readonly types?: readonly string[]
}

export const layers: Readonly<Record<string, Layer>> = {
  base: { pure: true, imports: [] },
  wasm: { pure: true, imports: ['base'] },
  isa: { pure: true, imports: ['base'] },
  machine: { pure: true, imports: ['base', 'isa', 'wasm'] },
  devices: { pure: true, imports: ['base', 'machine'] },
  board: { pure: true, imports: ['base', 'isa', 'machine', 'devices', 'log'] },
  log: { pure: true, imports: ['base'] },
  replication: { pure: true, imports: ['base', 'log'] },
  host: { pure: false, imports: ['base', 'log'], types: ['wasm', 'replication'] },
  gateway: { pure: false, imports: ['base', 'host', 'replication'] },
  image: { pure: false, imports: ['base'] },
  node: {
    pure: false,
    imports: [
      ...['base', 'wasm', 'isa', 'machine', 'devices', 'board', 'log', 'replication'],
      ...['host', 'gateway', 'image'],
    ],
  },
  cli: { pure: false, imports: ['base', 'image', 'node'] },
  dashboard: { pure: false, imports: ['base'] },
  sim: { pure: true, imports: ['base', 'log', 'replication'] },
}

/** The pure parts of layers that are not: they may import what their layer may, but nothing else of the layer. */
export const pureFolders: readonly string[] = ['src/gateway/stack']

/** Layers that stand beside `src/`, since the package does without them. */
export const outerLayers: readonly string[] = ['sim']

/** Programs that stand in a pure layer's folder and are none of it: they read arguments, and print. */
export const programs: readonly string[] = ['sim/main.ts']

/** Tests may also start a machine with the Engine of the host. */
export const testImports = ['host']
