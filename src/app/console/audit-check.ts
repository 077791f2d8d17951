/** Verifies the audit log when an administrator asks for it, and remembers the result. A long log takes minutes: one run at a time. */

import { type Fault, type Verification, verifyAudit } from '../../platform/audit/verify.ts'
import type { Db } from '../../platform/db/database.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import type { Secrets } from '../../platform/vault/secrets.ts'

export interface AuditCheck {
  /** Begins a run, unless one is running. Resolves when the run has ended; never rejects. */
  run(): Promise<void>
  state(): AuditCheckState
}

export interface AuditCheckState {
  isRunning: boolean
  /** Of the last run that ended. Null: there was none since this process started. */
  last: { at: Date; found: Verification | null; faults: readonly Fault[] } | null
}

/** The command `audit verify` prints all of them. */
const SHOWN_FAULTS = 20

export function createAuditCheck({ db, secrets, clock }: { db: Db; secrets: Secrets; clock: Clock }): AuditCheck {
  let running: Promise<void> | null = null
  let last: AuditCheckState['last'] = null

  async function verify(): Promise<void> {
    const faults: Fault[] = []
    const report = (fault: Fault) => {
      if (faults.length < SHOWN_FAULTS) faults.push(fault)
    }
    // without an answer of the database nothing is known about the log
    const found = await verifyAudit(db, secrets, { report }).catch(() => null)
    last = { at: new Date(clock.now()), found, faults }
    running = null
  }

  return {
    run() {
      running ??= verify()
      return running
    },
    state: () => ({ isRunning: running !== null, last }),
  }
}
