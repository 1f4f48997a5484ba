/**
 * What a service does, one operation at a time: the meaning that a concurrent history is compared with. The service is
 * one of many independent objects (a key's register); the checker looks at each object by itself.
 */
export interface Model<State, Input, Output> {
  /** What an object holds before the history begins. */
  readonly initial: State
  /**
   * The state after `input`, or undefined if `input` cannot be answered with `output` in `state`. Without an output,
   * because the answer never came, any answer will do. Must not change `state`.
   */
  apply(state: State, input: Input, output: Output | undefined): State | undefined
  /**
   * Whether `input`, answered with `output`, leaves every state as it is in which it can be so answered: a read, a
   * refusal. Saying no is never wrong, only slow.
   */
  isObservation(input: Input, output: Output): boolean
  /** Equal exactly for states that no operation can tell apart. */
  stateKey(state: State): string
  /** Equal exactly for inputs that do the same in every state. */
  inputKey(input: Input): string
  /** A state, for people. */
  describeState(state: State): string
  /** An operation and its answer, for people. */
  describe(input: Input, output: Output | undefined): string
}
