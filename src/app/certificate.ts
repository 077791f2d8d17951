/** Reads the certificate of the listener, and reloads it without a restart. */
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Server } from 'node:https'
import { createSecureContext } from 'node:tls'
import type { Config } from '../platform/config/schema.ts'
import type { Logger } from '../platform/telemetry/logger.ts'

type Tls = NonNullable<Config['server']['tls']>

export interface Certificate {
  /** PEM. */
  cert: Buffer
  key: Buffer
  /** Milliseconds since the epoch. */
  notAfter: number
}

/** @throws when a file cannot be read, or the key does not match the certificate */
export function readCertificate({ cert: certFile, key: keyFile }: Tls): Certificate {
  try {
    const [cert, key] = [readFileSync(certFile), readFileSync(keyFile)]
    createSecureContext({ cert, key })
    return { cert, key, notAfter: Date.parse(new X509Certificate(cert).validTo) }
  } catch (error) {
    throw new Error(`server.tls: ${certFile} and ${keyFile} are not a certificate with its key`, { cause: error })
  }
}

/** Checks the files regularly, because tools that renew certificates cannot always notify their users. @returns stops the checks */
export function watchCertificate(
  tls: Tls,
  server: Server,
  first: Certificate,
  logger: Logger,
  onNew: (c: Certificate) => void,
): () => void {
  let last = first
  let hasFailed = false
  const timer = setInterval(() => {
    try {
      const next = readCertificate(tls)
      hasFailed = false
      if (next.cert.equals(last.cert) && next.key.equals(last.key)) return
      // open connections keep the old certificate
      server.setSecureContext({ cert: next.cert, key: next.key })
      last = next
      onNew(next)
      logger.info({ not_after: new Date(next.notAfter).toISOString() }, 'the new certificate is in use')
    } catch (error) {
      // perhaps only one of the two files is written yet: the old pair stays in use
      if (!hasFailed) logger.error({ reason: 'certificate_unusable', cause: String((error as Error).cause) }, (error as Error).message)
      hasFailed = true
    }
  }, tls.reloadSeconds * 1000).unref()
  return () => clearInterval(timer)
}
