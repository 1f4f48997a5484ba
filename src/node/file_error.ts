export { fileError, systemErrorCode } from '../host/file_error.ts'
