/** Where the certificate of the listener comes from: files or an ACME server. */
import { problemOfDomain } from '../../platform/acme/acme-settings.ts'
import type { Config } from '../../platform/config/schema.ts'
import type { Finding } from './finding.ts'

const TLS = ['server', 'tls']
const ACME = [...TLS, 'acme']

export function checkAcme({ server: { tls }, database }: Config, problems: Finding[], warnings: Finding[]): void {
  if (!tls) return
  const { cert, key, acme } = tls
  if (acme && (cert !== undefined || key !== undefined))
    problems.push({
      path: TLS,
      message: 'has two sources of the certificate: files and acme',
      hint: 'keep cert and key, or keep acme',
    })
  else if (!acme && cert === undefined && key === undefined)
    problems.push({
      path: TLS,
      message: 'names no certificate',
      hint: 'set cert and key, or acme: { domains, termsOfServiceAgreed: true }',
    })
  else if (!acme && (cert === undefined || key === undefined))
    problems.push({ path: TLS, message: 'cert and key go together', hint: `set ${cert === undefined ? 'cert' : 'key'}, too` })
  if (!acme) return
  // a list that the schema refuses is left out here
  const domains: readonly string[] = (acme as Partial<typeof acme>).domains ?? []
  domains.forEach((name, i) => {
    const problem = problemOfDomain(name)
    if (problem) problems.push({ path: [...ACME, 'domains', i], ...problem })
  })
  const names = domains.map((name) => name.toLowerCase())
  names.forEach((name, i) => {
    if (names.indexOf(name) < i) problems.push({ path: [...ACME, 'domains', i], message: 'is in the list twice', hint: 'remove one' })
  })
  if (database.url !== 'embedded' && database.poolSize < 2)
    problems.push({
      path: ['database', 'poolSize'],
      message: 'must be at least 2 with server.tls.acme: an order keeps one connection',
      hint: 'remove database.poolSize, or set it to 2 or more',
    })
  if (!acme.termsOfServiceAgreed)
    problems.push({
      path: [...ACME, 'termsOfServiceAgreed'],
      message: 'must be true: an ACME server gives no certificate without it',
      hint: 'read the terms of the ACME server, then set it to true',
    })
  if (acme.challenges.includes('http-01') && tls.redirectPort === undefined)
    warnings.push({
      rule: 'acme-http-port',
      path: [...ACME, 'challenges'],
      message: 'http-01 is asked on port 80, and this gateway has no listener of plain HTTP',
      hint: 'set server.tls.redirectPort to 80, let what has port 80 redirect to this listener, or use tls-alpn-01',
    })
}
