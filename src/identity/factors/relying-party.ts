import type { Config } from '../../platform/config/schema.ts'
import type { RelyingParty } from './passkey-ceremonies.ts'

/** @param serviceName for `rpName`, where the configuration has none. @returns null where passkeys are not enabled */
export function relyingPartyOf({ auth, server }: Pick<Config, 'auth' | 'server'>, serviceName: string): RelyingParty | null {
  const { enabled, rpId, rpName, origins } = auth.passkeys
  if (!enabled) return null
  const { hostname, origin } = new URL(server.publicUrl)
  return {
    id: rpId ?? hostname,
    name: rpName ?? serviceName,
    origins: [...new Set([origin, ...origins.map((one) => new URL(one).origin)])],
  }
}
