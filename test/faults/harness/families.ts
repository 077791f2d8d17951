/** What must hold in the tables of sessions and refresh tokens, whatever happened. */
import type { PostgresServer } from './postgres.ts'

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
