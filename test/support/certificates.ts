/** Certificates for a test run: a CA and the certificates that it signs, as PEM files in a folder of their own. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generate } from 'selfsigned'

export interface Issued {
  cert: string
  key: string
  /** The same as files. */
  certFile: string
  keyFile: string
}

export interface Authority {
  cert: string
  certFile: string
  /** Issues a certificate for 127.0.0.1 and these names. */
  issue(names?: string[]): Promise<Issued>
  /** Replaces the files of an issued certificate by a new certificate. */
  replace(issued: Issued, names?: string[]): Promise<Issued>
  close(): void
}

const EC = { keyType: 'ec', algorithm: 'sha256' } as const

export async function createAuthority(name = 'Test CA'): Promise<Authority> {
  const dir = mkdtempSync(join(tmpdir(), 'portcullis-tls-'))
  const ca = await generate([{ name: 'commonName', value: name }], { ...EC, extensions: [{ name: 'basicConstraints', cA: true }] })
  const certFile = join(dir, 'ca.pem')
  writeFileSync(certFile, ca.cert)
  let count = 0

  async function sign(names: string[]): Promise<{ cert: string; key: string }> {
    const altNames = [{ type: 7 as const, ip: '127.0.0.1' }, ...names.map((value) => ({ type: 2 as const, value }))]
    const leaf = await generate([{ name: 'commonName', value: names[0] ?? '127.0.0.1' }], {
      ...EC,
      ca: { key: ca.private, cert: ca.cert },
      extensions: [{ name: 'subjectAltName', altNames }],
    })
    return { cert: leaf.cert, key: leaf.private }
  }
  function write(issued: Issued): Issued {
    writeFileSync(issued.certFile, issued.cert)
    writeFileSync(issued.keyFile, issued.key)
    return issued
  }

  return {
    cert: ca.cert,
    certFile,
    async issue(names = []) {
      const at = join(dir, `leaf${count++}`)
      return write({ ...(await sign(names)), certFile: `${at}.pem`, keyFile: `${at}.key` })
    },
    replace: async (issued, names = []) => write({ ...issued, ...(await sign(names)) }),
    close: () => rmSync(dir, { recursive: true, force: true }),
  }
}
