/** What has been done, for tuning. */
export interface TranslatorCounts {
  /** Steps that were taken in translated code. */
  steps: number
  regions: number
  modules: number
  /** Of the guest, and what they have become. */
  instructions: number
  wasmBytes: number
  /** Regions that were not emitted for this machine, but had been kept. */
  kept: number
  /** Calls at which a function of another page was taken in. */
  takenIn: number
  /** Regions taken out because their bytes were stored to, and put back after having slept. */
  dropped: number
  woken: number
  /** Regions given up to make room for others. */
  evicted: number
}

export const noCounts = (): TranslatorCounts => ({
  ...{ steps: 0, regions: 0, modules: 0, instructions: 0, wasmBytes: 0 },
  ...{ kept: 0, takenIn: 0, dropped: 0, woken: 0, evicted: 0 },
})
