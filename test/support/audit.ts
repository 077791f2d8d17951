/** Seals, ages and verifies the audit log of a gateway, as its operator would. */
import type { Batch } from '../../src/platform/audit/batches.repo.ts'
import { headOf, readHead } from '../../src/platform/audit/chain.ts'
import { createSealer } from '../../src/platform/audit/sealer.ts'
import { type Fault, type Verification, verifyAudit } from '../../src/platform/audit/verify.ts'
import type { Gateway } from './gateway.ts'
import { until } from './processes.ts'
import { rows } from './rows.ts'

const UNSETTLED = `SELECT id FROM audit_log WHERE batch IS NULL
  AND xid >= pg_snapshot_xmin(pg_current_snapshot()) AND xid < pg_snapshot_xmax(pg_current_snapshot())`

/** Seals all rows, as a gateway does after its start. Transactions of other tests may hold rows back for a moment. @returns the head */
export async function sealAll(gateway: Gateway): Promise<string> {
  await until(async () => (await rows(gateway, UNSETTLED)).length === 0, 'the end of older transactions')
  const head = await createSealer({ ...gateway.app.platform, sealSeconds: 60 }).seal()
  if (!head) throw new Error('the chain is broken')
  return head
}

/** Moves the batches up to this head into the past, as if the gateway had sealed them then. */
export async function age(gateway: Gateway, upTo: string, days: number): Promise<void> {
  const { secrets } = gateway.app.platform
  let previous: string | null = null
  for (const batch of await rows<Batch>(gateway, 'SELECT * FROM audit_batches ORDER BY number')) {
    const aged = { ...batch, previous: previous ?? batch.previous }
    if (batch.number <= readHead(upTo)!.number) aged.sealed_at = new Date(batch.sealed_at.getTime() - days * 86_400_000)
    const head = headOf(aged)
    await rows(gateway, 'UPDATE audit_batches SET sealed_at = $2, previous = $3, head = $4, mac = $5 WHERE number = $1', [
      batch.number,
      aged.sealed_at,
      aged.previous,
      head,
      secrets.mac('audit batch', head),
    ])
    previous = head
  }
}

export interface Verdict extends Omit<Verification, 'faults'> {
  faults: string[]
}

/** @param pageSize small, so that faults across pages are found, too */
export async function verify(
  gateway: Gateway,
  {
    head,
    secrets = gateway.app.platform.secrets,
    pageSize = 3,
  }: { head?: string; secrets?: Gateway['app']['platform']['secrets']; pageSize?: number } = {},
): Promise<Verdict> {
  const faults: Fault[] = []
  const known = head === undefined ? undefined : readHead(head)!
  const found = await verifyAudit(gateway.app.platform.db, secrets, { head: known, pageSize, report: (fault) => void faults.push(fault) })
  if (found.faults !== faults.length) throw new Error(`${found.faults} faults were counted, ${faults.length} reported`)
  return { ...found, faults: faults.map(({ kind, detail }) => `${kind}: ${detail}`) }
}
