/** What can run a test program: QEMU, or our machine. */
export interface Area {
  /** Physical address. */
  readonly address: number
  /** Bytes. */
  readonly length: number
}

export interface Subject {
  readonly name: string
  /**
   * Loads `image` at the start of RAM, runs it in M-mode until it writes 0x5555 to the power device at 0x100000, and
   * returns the content of the areas. `steps` is an upper bound of the steps that this may take. Throws if the
   * program does not end.
   */
  run(image: Uint8Array, steps: number, areas: readonly Area[]): Uint8Array[]
}
