/** What a decoder has found wrong with its stream: behind it nothing can be believed, so it is thrown at each call again. */
import { FormatError } from '../base/errors.ts'

export class StreamFault {
  #fault: FormatError | undefined

  /** Throws the fault, if there has been one. */
  throwAgain(): void {
    if (this.#fault !== undefined) throw this.#fault
  }

  /** Decodes; a FormatError that this throws is the fault from then on. */
  watch<T>(decode: () => T): T {
    this.throwAgain()
    try {
      return decode()
    } catch (error) {
      if (error instanceof FormatError) this.#fault = error
      throw error
    }
  }
}
