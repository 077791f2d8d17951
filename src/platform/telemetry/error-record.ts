import type { ErrorCode } from '../lib/errors.ts'

/** One failed request, as `/admin/errors` shows it. */
export interface ErrorRecord {
  /** RFC 3339 */
  timestamp: string
  request_id: string
  code: ErrorCode
  status: number
  route: string
  method: string
  cause: string
}
