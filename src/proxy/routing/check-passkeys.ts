/** Rules about passkeys: to which name they belong, and on which pages they work (WebAuthn L3 §5.1.2). */
import { isIP } from 'node:net'
import { isHarmless } from '../../platform/config/harmless.ts'
import type { Config } from '../../platform/config/schema.ts'
import type { Finding } from './finding.ts'

const isLocal = (host: string): boolean => host === 'localhost' || host.endsWith('.localhost')

/** A page may use passkeys of its own host and of each parent domain. */
const isWithin = (host: string, rpId: string): boolean => host === rpId || host.endsWith(`.${rpId}`)

export function checkPasskeys({ auth, server }: Config, problems: Finding[], warnings: Finding[]): void {
  const { enabled, rpId: given, origins } = auth.passkeys
  if (!enabled) return
  const at = ['auth', 'passkeys']
  const own = new URL(server.publicUrl)
  const rpId = given ?? own.hostname
  const shown = isHarmless(rpId) ? rpId : 'this name'
  if (isIP(rpId.replace(/^\[|\]$/g, '')) !== 0) {
    problems.push({
      path: given === undefined ? ['server', 'publicUrl'] : [...at, 'rpId'],
      message: 'is an IP address: passkeys belong to host names',
      hint: 'use the name under which browsers reach the gateway; on this machine: localhost',
    })
    return
  }
  if (!rpId.includes('.') && !isLocal(rpId))
    warnings.push({
      path: given === undefined ? ['server', 'publicUrl'] : [...at, 'rpId'],
      message: `${shown} is no domain: browsers take passkeys of a registered domain, or of localhost`,
    })
  const pages = [
    { path: ['server', 'publicUrl'], url: own },
    ...origins.map((origin, i) => ({ path: [...at, 'origins', i], url: new URL(origin) })),
  ]
  for (const { path, url } of pages) {
    if (!isWithin(url.hostname, rpId))
      problems.push({
        path,
        message: `is not within ${shown}, so its pages cannot use the passkeys`,
        hint: 'set auth.passkeys.rpId to a domain that all pages share',
      })
    else if (url.protocol !== 'https:' && !isLocal(url.hostname))
      problems.push({ path, message: 'is not https: browsers have passkeys over https alone, except on localhost' })
  }
}
