/**
 * The port to whatever compiles and runs WebAssembly. The pure folders know only these types; the host layer gives
 * them V8 (src/host/engine.ts), and a browser gives them its own.
 */

/** A linear memory as the engine made it. `buffer` changes identity when an unshared memory grows. */
export interface EngineMemory {
  readonly buffer: ArrayBufferLike
}

/** A function exported by an instance, or given to one as an import. i64 travels as bigint. */
// biome-ignore lint/suspicious/noExplicitAny: signatures are those of the module that was built
export type EngineFunction = (...args: any[]) => any

/** A table of functions that an instance exports. */
export interface EngineTable {
  set(index: number, value: EngineFunction | null): void
}

export type EngineImports = Record<string, Record<string, EngineMemory | EngineFunction>>

/** A module as the engine compiled it, perhaps on another thread. */
export type CompiledModule = object & { readonly length?: never }

export interface MemoryOptions {
  readonly initialPages: number
  readonly maximumPages: number
  readonly shared: boolean
}

export interface Engine {
  memory(options: MemoryOptions): EngineMemory
  /** Instantiates a module, having compiled it if it is not yet. Returns the exports. */
  instantiate(
    module: Uint8Array<ArrayBuffer> | CompiledModule,
    imports: EngineImports,
  ): Record<string, EngineFunction>
}
