/**
 * The WebAssembly engine of Node.js, as the machine wants it. What the flags give is in docs/decisions/0018; they are set
 * before anything of the machine is compiled.
 *
 * Inlining is off: it would draw the slow paths into the interpreter's one large loop, whose registers are what
 * counts. Measured with Node 26 on a mix of integer, memory and call instructions: 460 instead of 350 to 420 million
 * steps a second, and without the scatter that came from call counts at the time of compiling.
 */
import { setFlagsFromString } from 'node:v8'
import type { CompiledModule, Engine, EngineFunction, EngineMemory } from '../wasm/engine.ts'

for (const flag of [
  '--experimental-wasm-branch-hinting',
  // The launcher says `--no-wasm-inlining`, with which V8 crashes if WebAssembly has run before, as what Node.js itself has of it may have
  // by now. Who starts without the launcher gets this.
  '--wasm-inlining-max-size=0',
  '--no-wasm-inlining-call-indirect',
])
  setFlagsFromString(flag)

/** Compiles a module for whoever instantiates it, on this thread or another. */
export const compileModule = (wasm: Uint8Array<ArrayBuffer>): CompiledModule => new WebAssembly.Module(wasm)

export const nodeEngine: Engine = {
  memory({ initialPages, maximumPages, shared }) {
    return new WebAssembly.Memory({ initial: initialPages, maximum: maximumPages, shared })
  },
  instantiate(module, imports) {
    const compiled = module instanceof Uint8Array ? compileModule(module) : module
    const instance = new WebAssembly.Instance(
      compiled as WebAssembly.Module,
      imports as Record<string, Record<string, EngineMemory & EngineFunction>> as WebAssembly.Imports,
    )
    return instance.exports as Record<string, EngineFunction>
  },
}
