/** What a migration reports while it runs. */
export type MigrationEvent =
  | { kind: 'applied' | 'reverted'; step: string; seconds: number }
  /** What an operator must know of the result of a step. */
  | { kind: 'note'; step: string; text: string }
  /** The step takes long. `detail`: how far it is, as far as the step says so. */
  | { kind: 'running'; step: string; seconds: number; detail: string | null }
  /** Another process holds a lock that the step needs. */
  | { kind: 'blocked'; step: string; seconds: number; by: string }
  /** A newer version has applied these steps, and this version can work with them. */
  | { kind: 'newer'; steps: readonly string[] }
  /** Another process migrates this database. */
  | { kind: 'queued'; seconds: number }

/** One line for a log or a terminal. */
export function textOfEvent(event: MigrationEvent): string {
  switch (event.kind) {
    case 'applied':
    case 'reverted':
      return `${event.step} was ${event.kind} in ${event.seconds} s`
    case 'note':
      return `${event.step}: ${event.text}`
    case 'running':
      return `${event.step} has been running for ${event.seconds} s${event.detail === null ? '' : `: ${event.detail}`}`
    case 'blocked':
      return `${event.step} has been waiting for a lock for ${event.seconds} s, held by ${event.by}: it is tried again`
    case 'newer':
      return `a newer version has migrated this database (${event.steps.join(', ')}): this version works with it`
    case 'queued':
      return `another process has been migrating this database for ${event.seconds} s: waiting for its end`
  }
}
