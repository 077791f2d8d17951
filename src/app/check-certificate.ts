/** Compares the certificate of the listener with the names under which clients reach it. */
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import type { Config } from '../platform/config/schema.ts'
import type { Finding } from '../proxy/routing/finding.ts'

/** Empty where the certificate cannot be read: the start names that, and a missing file has a warning of its own. */
export function checkCertificate({ server, routes }: Config): Finding[] {
  const certificate = server.tls && readCertificate(server.tls.cert)
  if (!certificate || !URL.canParse(server.publicUrl)) return []
  const names = certificate.subjectAltName ?? certificate.subject
  const { protocol, hostname } = new URL(server.publicUrl)
  const findings: Finding[] = []
  if (protocol === 'http:')
    findings.push({
      rule: 'public-url-plain',
      path: ['server', 'publicUrl'],
      message: 'is plain http, although server.tls gives the listener a certificate',
      hint: 'write the https address that clients use',
    })
  else if (!covers(certificate, hostname))
    findings.push({
      rule: 'certificate-name',
      path: ['server', 'publicUrl'],
      message: `the certificate of server.tls does not cover ${hostname}; it covers ${names}`,
      hint: 'use a certificate for this name, or correct server.publicUrl',
    })
  routes.forEach(({ match }, i) => {
    if (match.host !== undefined && !covers(certificate, match.host.toLowerCase()))
      findings.push({
        rule: 'certificate-name',
        path: ['routes', i, 'match', 'host'],
        message: `the certificate of server.tls does not cover ${match.host}; it covers ${names}`,
        hint: 'use a certificate for this name too, or correct the host',
      })
  })
  return findings
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
