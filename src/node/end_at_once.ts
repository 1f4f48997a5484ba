export { endAtOnce } from '../host/end_at_once.ts'
