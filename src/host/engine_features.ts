/** What the machine needs of a WebAssembly engine, found out by trying. */
import { spawnSync } from 'node:child_process'

const BRANCH_HINTS_FLAG = '--experimental-wasm-branch-hinting'
const WASM_PAGE_BYTES = 65536
/** A module with two memories of no pages: magic number, version, memory section. */
const MULTI_MEMORY_MODULE = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 5, 5, 2, 0, 0, 0, 0)

/** Whether a module can have a memory for the machine and one for the guest. */
export function hasMultiMemory(): boolean {
  return WebAssembly.validate(MULTI_MEMORY_MODULE)
}

/** Whether the runtime knows the option for branch hints; it refuses to start with one that it does not. */
export function hasBranchHints(): boolean {
  return spawnSync(process.execPath, [BRANCH_HINTS_FLAG, '--eval', '0'], { stdio: 'ignore' }).status === 0
}

/** Whether there is address space for a guest with this much RAM; nothing of it is used. */
export function canReserve(bytes: number): boolean {
  const pages = bytes / WASM_PAGE_BYTES
  try {
    return (
      new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }).buffer.byteLength === bytes
    )
  } catch {
    return false
  }
}
