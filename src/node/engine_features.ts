/** The engine's features, for the doctor. */
export { canReserve, hasBranchHints, hasMultiMemory } from '../host/engine_features.ts'
