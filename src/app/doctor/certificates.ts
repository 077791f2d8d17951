/** Certificates and keys that the configuration names: readable, fitting, valid, and for the right names. */
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import type { Config } from '../../platform/config/schema.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { causeText, fileErrorText } from '../../platform/lib/errors.ts'
import { checkCertificate } from '../check-certificate.ts'
import { type Finding, fail, notChecked, ok, type Row, rowOf, warn } from './row.ts'

const DAY_MS = 86_400_000
/** Renewals are usually done 30 days before the end. */
const SOON_DAYS = 14

interface Files {
  setting: string
  ca?: string | undefined
  cert?: string | undefined
  key?: string | undefined
}

export function certificateRows(config: Config, { now }: Pick<Clock, 'now'>): Row[] {
  const named: Files[] = [
    ...(config.server.tls === undefined || config.server.tls.acme ? [] : [{ setting: 'server.tls', ...config.server.tls }]),
    ...config.routes.flatMap((route, i) =>
      route.upstream.flatMap((upstream, j) =>
        typeof upstream === 'string' || upstream.tls === undefined ? [] : [{ setting: `routes[${i}].upstream[${j}].tls`, ...upstream.tls }],
      ),
    ),
  ]
  return [
    ...acmeRows(config),
    ...named.map((files) => rowOf(`certificate ${files.setting}`, judge(files, now()))),
    ...checkCertificate(config).map(({ path, message, hint }) =>
      rowOf(`certificate for ${path.join('.')}`, fail(message, hint ?? 'correct it')),
    ),
  ]
}

/** The running gateway has the certificate. */
const acmeRows = ({ server: { tls } }: Config): Row[] =>
  tls?.acme
    ? [
        rowOf(
          'certificate server.tls.acme',
          notChecked(
            `${tls.acme.domains.join(', ')}: an ACME server issues it, and the database holds it`,
            '/readyz?verbose of the gateway says whether it is there',
          ),
        ),
      ]
    : []

function judge({ setting, ca, cert, key }: Files, nowMs: number): Finding {
  const read: Record<string, Buffer> = {}
  for (const [name, file] of Object.entries({ ca, cert, key })) {
    if (file === undefined) continue
    try {
      read[name] = readFileSync(file)
    } catch (error) {
      return fail(
        `${file}: cannot be read: ${fileErrorText(error)}`,
        `correct ${setting}.${name}, or let this user read the file: ls -l ${file}`,
      )
    }
  }
  try {
    createSecureContext(read)
  } catch (error) {
    const found = `${[cert, key, ca].filter(Boolean).join(' and ')}: ${causeText(error)}`
    return fail(found, `${setting} needs PEM files: the certificate chain, and the private key of its first certificate`)
  }
  const file = cert ?? ca
  return file === undefined ? ok('no certificate of its own') : judgeDates(file, new X509Certificate((read.cert ?? read.ca)!), nowMs)
}

function judgeDates(file: string, { validFrom, validTo, subjectAltName, subject }: X509Certificate, nowMs: number): Finding {
  const [from, to] = [Date.parse(validFrom), Date.parse(validTo)]
  const date = (ms: number) => new Date(ms).toISOString().slice(0, 10)
  const names = (subjectAltName ?? subject).replaceAll('DNS:', '').replaceAll('IP Address:', '')
  const days = Math.floor((to - nowMs) / DAY_MS)
  if (nowMs > to) return fail(`${file} expired on ${date(to)}`, 'renew the certificate; new files are loaded without a restart')
  if (nowMs < from)
    return fail(`${file} is not valid before ${date(from)}`, 'use a certificate that is valid now, or correct the clock of this machine')
  const found = `${names}: valid until ${date(to)}, ${days} days`
  return days < SOON_DAYS ? warn(found, 'renew the certificate; new files are loaded without a restart') : ok(found)
}
