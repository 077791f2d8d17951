import type { AuditContext } from '../audit/audit.ts'
import { deviceName } from '../request/device-name.ts'
import type { Occasion } from './templates.ts'

/** What a notice tells of the request that it is about. */
export const occasionOf = (at: Date, { ip, userAgent }: AuditContext): Occasion => ({
  at: at.toISOString(),
  ip,
  device: deviceName(userAgent),
})
