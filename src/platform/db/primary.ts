/** Finds the server of Postgres that accepts writes, and notices when another server takes over. */
import { causeText } from '../lib/errors.ts'
import type { Logger } from '../telemetry/logger.ts'
import { hostName } from './describe-database.ts'
import { dial, type ServerRole } from './dial.ts'
import { isConnectionLost, refusal, sqlState } from './unavailable.ts'

export interface Primary {
  /** The URL, with one host, of the server that accepts writes. Null: not known yet. */
  url(): string | null
  /** Asks all hosts at once. @throws DatabaseUnavailable when no host accepts writes; the error of the host when there is one only */
  find(silenceMs: number): Promise<void>
  /** Judges the server at the other end of a new connection. @throws DatabaseUnavailable for a standby, and for an older timeline */
  admit(url: string, role: ServerRole): void
}

export interface PrimaryDeps {
  /** Of one host each. */
  urls: readonly string[]
  logger: Logger
  /** Another server has taken over. */
  onChange(url: string): void
}

interface Known {
  url: string
  role: ServerRole
}

interface Failed {
  url: string
  error: unknown
}

export function createPrimary({ urls, logger, onChange }: PrimaryDeps): Primary {
  const onlyUrl = urls.length === 1 ? urls[0]! : null
  let known: Known | null = null
  let finding: Promise<void> | null = null
  /** Hosts that were refused, with the reason: each is logged once. */
  const refused = new Map<string, string>()

  function refusalOf(role: ServerRole): string | null {
    if (role.isStandby) return 'is a standby and accepts no writes'
    const seen = known?.role
    if (!seen || role.timeline === null || seen.timeline === null || role.systemId !== seen.systemId) return null
    if (role.timeline >= seen.timeline) return null
    return `is on timeline ${role.timeline}, which timeline ${seen.timeline} has replaced`
  }

  /** Standbys in a list of hosts are normal and stay out of the log. */
  function noteRefusal(url: string, role: ServerRole, reason: string): void {
    if (role.isStandby || refused.get(url) === reason) return
    refused.set(url, reason)
    logger.error({ reason: 'db_server_refused', host: hostName(url), cause: reason }, 'a database server was refused')
  }

  function adopt(url: string, role: ServerRole): void {
    refused.delete(url)
    const before = known
    known = { url, role }
    if (!before) return
    const isSame = before.url === url && before.role.systemId === role.systemId && before.role.timeline === role.timeline
    if (isSame) return
    logger.warn(
      { reason: 'db_primary_changed', host: hostName(url), before: hostName(before.url), timeline: role.timeline },
      'another database server accepts writes now',
    )
    onChange(url)
  }

  function best(found: Known[]): Known | null {
    const systemId = known?.role.systemId ?? found[0]?.role.systemId
    const ofSystem = found.filter(({ role }) => role.systemId === systemId)
    const timelineOf = ({ role }: Known) => role.timeline ?? 0
    // sorting is stable: at the same timeline the server in use stays, and then the first of the list
    const order = (a: Known, b: Known) => timelineOf(b) - timelineOf(a) || Number(b.url === known?.url) - Number(a.url === known?.url)
    return (ofSystem.length ? ofSystem : found).sort(order)[0] ?? null
  }

  async function ask(url: string, silenceMs: number): Promise<Known | Failed> {
    try {
      const role = await dial(url, silenceMs)
      const reason = refusalOf(role)
      if (!reason) return { url, role }
      noteRefusal(url, role, reason)
      return { url, error: refusal(onlyUrl ? `the server ${hostName(url)} ${reason}` : reason) }
    } catch (error) {
      return { url, error }
    }
  }

  async function search(silenceMs: number): Promise<void> {
    const answers = await Promise.all(urls.map((url) => ask(url, silenceMs)))
    const winner = best(answers.filter((answer) => 'role' in answer))
    if (winner) return adopt(winner.url, winner.role)
    const failures = answers.filter((answer) => 'error' in answer)
    // a server that refuses the password, or has no free connection, is there
    const ofCurrent = failures.find(({ url }) => url === (known?.url ?? onlyUrl))
    if (ofCurrent && !isConnectionLost(ofCurrent.error)) return
    const first = failures[0]!.error
    if (onlyUrl) throw first
    const other = failures.find(({ error }) => !isConnectionLost(error))
    if (other && sqlState(other.error)) throw other.error
    throw refusal(`no database server accepts writes: ${failures.map(({ url, error }) => textOf(url, error)).join('; ')}`)
  }

  const textOf = (url: string, error: unknown) => `${hostName(url)} ${causeText(error)}`

  return {
    url: () => known?.url ?? onlyUrl,
    find(silenceMs) {
      finding ??= search(silenceMs).finally(() => {
        finding = null
      })
      return finding
    },
    admit(url, role) {
      const reason = refusalOf(role)
      if (!reason) return adopt(url, role)
      noteRefusal(url, role, reason)
      throw refusal(`the server ${hostName(url)} ${reason}`)
    },
  }
}
