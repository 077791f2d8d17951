/** Reads the certificate of the listener, and reloads it without a restart. */
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Server } from 'node:https'
import { createSecureContext } from 'node:tls'
import type { Config } from '../platform/config/schema.ts'
import type { Logger } from '../platform/telemetry/logger.ts'

type Tls = NonNullable<Config['server']['tls']>

/** With the names of both files: `check` refuses one without the other. */
export type TlsFiles = Pick<Tls, 'reloadSeconds'> & { cert: string; key: string }

/** Null: no TLS, or the certificate comes from an ACME server. */
export const tlsFilesOf = ({ server: { tls } }: Config): TlsFiles | null => (tls && !tls.acme ? (tls as TlsFiles) : null)

export interface Certificate {
  /** PEM. */
  cert: Buffer
  key: Buffer
  /** Milliseconds since the epoch. */
  notAfter: number
}

/** @throws when a file cannot be read, or the key does not match the certificate */
export function readCertificate({ cert: certFile, key: keyFile }: TlsFiles): Certificate {
  try {
    const [cert, key] = [readFileSync(certFile), readFileSync(keyFile)]
    createSecureContext({ cert, key })
    return { cert, key, notAfter: Date.parse(new X509Certificate(cert).validTo) }
  } catch (error) {
    throw new Error(`server.tls: ${certFile} and ${keyFile} are not a certificate with its key`, { cause: error })
  }
}

export interface CertificateFiles {
  /** Puts a certificate in use for new connections; from now on these files are checked. */
  use(tls: TlsFiles, certificate: Certificate): void
  stop(): void
}

/** Checks the files regularly, because tools that renew certificates cannot always notify their users. */
export function followCertificate(
  tls: TlsFiles,
  first: Certificate,
  server: Pick<Server, 'setSecureContext'>,
  logger: Logger,
  onNew: (c: Certificate) => void,
): CertificateFiles {
  let files = tls
  let last = first
  let hasFailed = false
  let timer: NodeJS.Timeout

  function take(next: Certificate): void {
    if (next.cert.equals(last.cert) && next.key.equals(last.key)) return
    // open connections keep the old certificate
    server.setSecureContext({ cert: next.cert, key: next.key })
    last = next
    onNew(next)
    logger.info({ not_after: new Date(next.notAfter).toISOString() }, 'the new certificate is in use')
  }
  function check(): void {
    try {
      const next = readCertificate(files)
      hasFailed = false
      take(next)
    } catch (error) {
      // perhaps only one of the two files is written yet: the old pair stays in use
      if (!hasFailed) logger.error({ reason: 'certificate_unusable', cause: String((error as Error).cause) }, (error as Error).message)
      hasFailed = true
    }
  }
  const start = () => {
    timer = setInterval(check, files.reloadSeconds * 1000).unref()
  }
  start()
  onNew(first)

  return {
    use(tls, certificate) {
      clearInterval(timer)
      files = tls
      hasFailed = false
      take(certificate)
      start()
    },
    stop: () => clearInterval(timer),
  }
}
