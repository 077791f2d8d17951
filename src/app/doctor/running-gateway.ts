/** The gateway of this configuration that runs on this machine, as its admin listener shows it. */
import type { Config } from '../../platform/config/schema.ts'
import { type Owner, ownerOfPort } from './port-owner.ts'

export interface RunningGateway {
  isReady: boolean
  /** What is not well, by name. Empty: everything is. */
  failing: string[]
  /** Null: the metrics do not show it. */
  version: string | null
  /** The process that has the admin listener. Null: the system does not say. */
  owner: Owner | null
}

const TIMEOUT_MS = 2000

/** The address of a listener, as this machine reaches it. */
export function localHost(host: string): string {
  const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  return reachable.includes(':') ? `[${reachable}]` : reachable
}

/** @returns null when no gateway answers there */
export async function findGateway({ admin }: Config): Promise<RunningGateway | null> {
  if (admin.port === 0) return null
  const base = `http://${localHost(admin.host)}:${admin.port}`
  const answer = await ask(`${base}/readyz?verbose`)
  const report = readReport(answer)
  if (report === null) return null
  const version = /^portcullis_build_info\{[^}]*version="([^"]+)"/m.exec((await ask(`${base}/metrics`)) ?? '')?.[1] ?? null
  return { ...report, version, owner: ownerOfPort(admin.port) }
}

function readReport(text: string | null): Pick<RunningGateway, 'isReady' | 'failing'> | null {
  try {
    const { status, checks } = JSON.parse(text ?? '') as { status?: unknown; checks?: { name: string; ok: boolean }[] }
    if ((status !== 'ready' && status !== 'not ready') || !Array.isArray(checks)) return null
    return { isReady: status === 'ready', failing: checks.filter(({ ok }) => !ok).map(({ name }) => name) }
  } catch {
    return null
  }
}

/** @returns null when nothing answers */
async function ask(url: string): Promise<string | null> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) })
    return await response.text()
  } catch {
    return null
  }
}
