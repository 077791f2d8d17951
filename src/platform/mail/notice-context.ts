import type { AuditContext } from '../audit/audit.ts'
import { deviceName } from '../request/device-name.ts'
import type { NoticeContext } from './templates.ts'

/** What a notice shows about the request that caused it. */
export const noticeContextOf = (at: Date, { ip, userAgent }: AuditContext): NoticeContext => ({
  at: at.toISOString(),
  ip,
  device: deviceName(userAgent),
})
