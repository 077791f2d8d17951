/** What `server.tls.acme` says, in the form that the protocol needs. */

import { isIP } from 'node:net'
import { domainToASCII } from 'node:url'
import type { Config } from '../config/schema.ts'
import type { CertificateId } from './acme.repo.ts'

export type AcmeSettings = NonNullable<NonNullable<Config['server']['tls']>['acme']>

/** Short names of `directoryUrl`. */
const DIRECTORIES: Readonly<Record<string, string>> = {
  letsencrypt: 'https://acme-v02.api.letsencrypt.org/directory',
  'letsencrypt-staging': 'https://acme-staging-v02.api.letsencrypt.org/directory',
}

export const directoryOf = ({ directoryUrl }: Pick<AcmeSettings, 'directoryUrl'>): string => DIRECTORIES[directoryUrl] ?? directoryUrl

/** In the form of certificates: lower case. */
export const domainsOf = ({ domains }: Pick<AcmeSettings, 'domains'>): string[] => [...new Set(domains.map((name) => name.toLowerCase()))]

export const certificateIdOf = (acme: Pick<AcmeSettings, 'directoryUrl' | 'domains'>): CertificateId => ({
  directory_url: directoryOf(acme),
  names: domainsOf(acme).sort().join(','),
})

const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/

/** @returns what is wrong with a name, and what would be right; null: it can be proven by http-01 and tls-alpn-01 */
export function problemOfDomain(given: string): { message: string; hint: string } | null {
  const name = given.toLowerCase()
  if (name.includes('*'))
    return {
      message: 'a wildcard cannot be proven by http-01 or tls-alpn-01, only by DNS records',
      hint: 'list each name, or fetch the certificate with another tool and set server.tls.cert and key',
    }
  if (isIP(name.replace(/^\[(.*)\]$/, '$1')) !== 0)
    return { message: 'is an address, not a name', hint: 'write the name under which clients reach the gateway' }
  if (/[:/@\s]/.test(name)) return { message: 'must be a name alone', hint: 'write api.example.com, without scheme, port and path' }
  if (/[^\x20-\x7e]/.test(name))
    return { message: 'must be in its ASCII form', hint: `write ${domainToASCII(name) || 'the form with xn--'}` }
  if (name.length > 253 || !name.split('.').every((label) => LABEL.test(label)))
    return { message: 'is not a host name', hint: 'write letters, digits and hyphens, such as api.example.com' }
  return null
}
