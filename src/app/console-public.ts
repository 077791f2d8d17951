/** The console on the public listener, below `{prefix}/console`. It uses the cookie and the login of the other pages. */
import type { FastifyInstance } from 'fastify'
import { createPageKit } from '../identity/pages/page-kit.ts'
import type { ErrorRecord } from '../platform/telemetry/error-record.ts'
import type { Access } from './access.ts'
import { mountConsole } from './console/console.ts'
import type { HealthReport } from './console/health-history.ts'
import { createJudgeHost } from './console/hosts.ts'
import type { ConsoleParts } from './console/section.ts'
import { sectionsOf } from './console/sections.ts'
import { createConsoleLook } from './console-look.ts'
import type { Identity } from './identity.ts'
import type { PageFrame } from './page-frame.ts'
import type { Platform } from './platform.ts'
import { mountPageBasics } from './ui.ts'

export interface PublicConsoleDeps {
  platform: Platform
  identity: Identity
  access: Access
  frame: PageFrame
  /** The errors of all processes, newest first. */
  lastErrors(): Promise<ErrorRecord[]>
  /** The health of all processes in the last hour. */
  health(): Promise<HealthReport>
}

/** @returns registers the console below `auth.prefix`; null when the configuration has none there */
export function createPublicConsole(deps: PublicConsoleDeps): ((auth: FastifyInstance) => Promise<void>) | null {
  const { platform, identity, access, frame, lastErrors, health } = deps
  const { config, db, clock, secrets } = platform
  if (config.auth.browser.console !== 'public') return null
  const { texts, crossSite, returnTo } = frame
  const base = `${config.auth.prefix}/console`
  const { read } = platform.database
  const parts: ConsoleParts = { base, config, db, read, clock, data: platform.data, secrets, ...identity, lastErrors, health }
  const sections = sectionsOf(parts)
  const { assets, layout } = createConsoleLook({ config, texts, base, logoutPath: `${frame.base}/logout`, sections })
  const kit = createPageKit({ base, layout, texts, crossSite, requireAuth: access.requireAuth })
  const loginFor = (target: string) => returnTo.to(`${frame.base}/login`, target)

  async function register(app: FastifyInstance): Promise<void> {
    mountPageBasics(app, { base, home: base, assets, texts, name: 'console' })
    mountConsole(app, {
      parts,
      kit,
      texts,
      sections,
      judgeHost: createJudgeHost(config, crossSite, access.browser!.cookies),
      loginFor,
      logoutPath: `${frame.base}/logout`,
    })
  }

  return async (auth) => void (await auth.register(register, { prefix: '/console' }))
}
