/** Compares the certificate of the listener with the names under which clients reach it. */
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { domainsOf } from '../platform/acme/acme-settings.ts'
import type { Config } from '../platform/config/schema.ts'
import type { Finding } from '../proxy/routing/finding.ts'

/** Empty where the certificate cannot be read: the start names that, and a missing file has a warning of its own. */
export function checkCertificate({ server, routes }: Config): Finding[] {
  const names = server.tls && namesOf(server.tls)
  if (!names || !URL.canParse(server.publicUrl)) return []
  const { source, shown, covers } = names
  const { protocol, hostname } = new URL(server.publicUrl)
  const findings: Finding[] = []
  if (protocol === 'http:')
    findings.push({
      rule: 'public-url-plain',
      path: ['server', 'publicUrl'],
      message: 'is plain http, although server.tls gives the listener a certificate',
      hint: 'write the https address that clients use',
    })
  else if (!covers(hostname))
    findings.push({
      rule: 'certificate-name',
      path: ['server', 'publicUrl'],
      message: `the certificate of ${source} does not cover ${hostname}; it covers ${shown}`,
      hint: 'use a certificate for this name, or correct server.publicUrl',
    })
  routes.forEach(({ match }, i) => {
    if (match.host !== undefined && !covers(match.host.toLowerCase()))
      findings.push({
        rule: 'certificate-name',
        path: ['routes', i, 'match', 'host'],
        message: `the certificate of ${source} does not cover ${match.host}; it covers ${shown}`,
        hint: 'use a certificate for this name too, or correct the host',
      })
  })
  return findings
}

interface Names {
  /** The setting that they come from. */
  source: string
  shown: string
  covers(host: string): boolean
}

/** Of the file, or those that are ordered. Null: they are not known. */
function namesOf({ cert, acme }: NonNullable<Config['server']['tls']>): Names | null {
  if (acme) {
    const domains = domainsOf(acme)
    return { source: 'server.tls.acme', shown: domains.join(', '), covers: (host) => domains.includes(host) }
  }
  const certificate = cert === undefined ? null : readCertificate(cert)
  return (
    certificate && {
      source: 'server.tls',
      shown: certificate.subjectAltName ?? certificate.subject,
      covers: (host) => covers(certificate, host),
    }
  )
}

function readCertificate(file: string): X509Certificate | null {
  try {
    return new X509Certificate(readFileSync(file))
  } catch {
    return null
  }
}

const covers = (certificate: X509Certificate, host: string): boolean => {
  const name = host.replace(/^\[(.*)\]$/, '$1')
  return (isIP(name) === 0 ? certificate.checkHost(name) : certificate.checkIP(name)) !== undefined
}
