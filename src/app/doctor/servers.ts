/** Upstreams, mail server, providers and issuers: what `check --online` asks. Postgres and Redis have rows of their own. */
import type { Config } from '../../platform/config/schema.ts'
import { hostsOf } from '../../platform/db/hosts.ts'
import { checkOnline, type OnlineResult } from '../check-online.ts'
import { type Finding, fail, ok, type Row, rowOf } from './row.ts'

export async function serverRows(config: Config): Promise<Row[]> {
  // a host of several is asked here: the gateway can do without it
  const isOneOfSeveral = config.database.url !== 'embedded' && hostsOf(config.database.url).length > 1
  const results = await checkOnline(
    config,
    ([section, key]) => section !== 'redis' && (section !== 'database' || key !== 'url' || isOneOfSeveral),
  )
  return results.map((result) => rowOf(result.name, judgeServer(result)))
}

function judgeServer({ name, question, fault, path }: OnlineResult): Finding {
  if (fault === null) return ok(`answers (${question})`)
  const setting = path.reduce<string>(
    (text, step) => (typeof step === 'number' ? `${text}[${step}]` : text === '' ? step : `${text}.${step}`),
    '',
  )
  return fail(`${question}: ${fault}`, adviceFor(fault, setting, name))
}

function adviceFor(fault: string, setting: string, name: string): string {
  const missing = /\b(?:ENOTFOUND|EAI_AGAIN) (\S+)/.exec(fault)?.[1]
  if (missing !== undefined) return `the name is not known here: correct ${setting}, or see: getent hosts ${missing}`
  if (/certificate|CERT|self-signed|issuer/i.test(fault) && /TLS|https:/.test(name + fault))
    return `its certificate is not trusted: name its CA in the configuration, or correct ${setting}`
  return `start it, or correct ${setting}`
}
