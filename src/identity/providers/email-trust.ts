/** What an address at a provider is worth here. Anybody may write any address at some providers. */

import { canonicalEmail } from '../users/canonical-login.ts'
import type { ProvenLogin, Provider } from './provider.ts'
import { providerRefused } from './provider-errors.ts'

type Settings = Pick<Provider['settings'], 'allowedDomains' | 'trustEmail'>
type Address = Pick<ProvenLogin, 'email' | 'isEmailVerified'>

function isOfDomain({ allowedDomains }: Settings, { email, isEmailVerified }: Address): boolean {
  if (email === null || !isEmailVerified) return false
  const canonical = canonicalEmail(email)
  return allowedDomains.includes('*') || allowedDomains.includes(canonical.slice(canonical.lastIndexOf('@') + 1))
}

/** The address counts as proven: the provider is trusted for its domain. */
export const isProven = (settings: Settings, login: Address): boolean => settings.trustEmail && isOfDomain(settings, login)

/** @throws provider_refused */
export function assertAllowed(settings: Settings, login: Address): void {
  if (settings.allowedDomains.length > 0 && !isOfDomain(settings, login))
    throw providerRefused('the address is not of allowedDomains, or the provider does not call it verified')
}
