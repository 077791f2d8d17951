/** The certificate of the listener, which renews without a restart. */
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

/** @throws when a file cannot be read, or the key is not the certificate's */
export function readCertificate({ cert: certFile, key: keyFile }: Tls): Certificate {
  try {
    const [cert, key] = [readFileSync(certFile), readFileSync(keyFile)]
    createSecureContext({ cert, key })
    return { cert, key, notAfter: Date.parse(new X509Certificate(cert).validTo) }
  } catch (error) {
    throw new Error(`server.tls: ${certFile} and ${keyFile} are no certificate with its key`, { cause: error })
  }
}

/** Looks at the files again and again: what renews certificates cannot always tell who uses them. @returns stops looking */
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
      // connections that stand keep theirs
      server.setSecureContext({ cert: next.cert, key: next.key })
      last = next
      onNew(next)
      logger.info({ not_after: new Date(next.notAfter).toISOString() }, 'took the new certificate')
    } catch (error) {
      // one of two files may be written already: the old pair serves on
      if (!hasFailed) logger.error({ reason: 'certificate_unusable', cause: String((error as Error).cause) }, (error as Error).message)
      hasFailed = true
    }
  }, tls.reloadSeconds * 1000).unref()
  return () => clearInterval(timer)
}
