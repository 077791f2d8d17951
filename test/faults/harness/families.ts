/** What must hold in the tables of sessions and refresh tokens, whatever happened. */
import type { Tally } from './fault-row.ts'
import type { PostgresServer } from './postgres.ts'
import type { Successors } from './session-client.ts'

/** @returns the rules that do not hold; nothing is right */
export async function familyFaults(postgres: Pick<PostgresServer, 'sql'>): Promise<string[]> {
  const twoChildren = await postgres.sql(
    `SELECT parent_id FROM refresh_tokens WHERE parent_id IS NOT NULL GROUP BY parent_id HAVING count(*) > 1`,
  )
  const twoActive = await postgres.sql(
    `SELECT session_id FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id
     WHERE t.rotated_at IS NULL AND s.revoked_at IS NULL GROUP BY session_id HAVING count(*) > 1`,
  )
  const noChild = await postgres.sql(
    `SELECT t.id FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id WHERE t.rotated_at IS NOT NULL AND s.revoked_at IS NULL
     AND NOT EXISTS (SELECT 1 FROM refresh_tokens c WHERE c.parent_id = t.id)`,
  )
  return [
    ...(twoChildren.length ? [`${twoChildren.length} refresh tokens have two successors`] : []),
    ...(twoActive.length ? [`${twoActive.length} sessions have two active refresh tokens`] : []),
    ...(noChild.length ? [`${noChild.length} exchanged refresh tokens have no successor`] : []),
  ]
}

/** Each refresh token was exchanged for one successor: as the clients saw it, and in the tables. */
export async function promiseOneSuccessor(tally: Tally, successors: Successors, postgres: Pick<PostgresServer, 'sql'>): Promise<void> {
  const doubles = successors.doubles().length
  tally.promise(doubles === 0, `${doubles} tokens were exchanged for two successors`)
  tally.broken.push(...(await familyFaults(postgres)))
}
