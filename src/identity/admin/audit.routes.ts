/** The audit log, for administrators; admin.routes.ts requires the role. */

import { Readable } from 'node:stream'
import { type Static, Type } from 'typebox'
import { type AuditFilter, type AuditView, exportAudit, findAuditPage } from '../../platform/audit/pages.repo.ts'
import type { ReadReplica } from '../../platform/db/database.ts'
import { answers, BEARER, Limit, limitOf, NEEDS_ADMIN, strictBody, Term, Timestamp } from '../../platform/http/endpoint.ts'
import type { FastifyTypeProviderTypebox } from '../../platform/http/type-provider.ts'
import { invalidField } from '../../platform/lib/errors.ts'
import { ID_PATTERN } from '../../platform/lib/ids.ts'
import { isStorable } from '../../platform/lib/timestamps.ts'

const Text = Type.Union([Type.String(), Type.Null()])
const EventSchema = Type.Object(
  {
    id: Type.String(),
    at: Timestamp,
    event: Type.String(),
    outcome: Type.String(),
    user_id: Text,
    session_id: Text,
    actor: Text,
    detail: Text,
    ip: Text,
    user_agent: Text,
    request_id: Text,
  },
  { title: 'AuditEvent' },
)

const Instant = (description: string) => Type.Optional(Type.String({ format: 'date-time', description }))
const filter = {
  user: Type.Optional(Type.String({ pattern: ID_PATTERN, description: 'The id of the user that the event is about.' })),
  event: Type.Optional(Term(64)),
  outcome: Type.Optional(Term(64)),
  actor: Type.Optional(Term(128)),
  since: Instant('Only events at or after this time.'),
  until: Instant('Only events before this time.'),
}
const Filter = strictBody(filter)

export const auditRoutes =
  ({ read }: { read: ReadReplica }) =>
  async (app: FastifyTypeProviderTypebox) => {
    app.get(
      '/admin/audit',
      {
        config: { name: 'auth.admin.audit' },
        schema: {
          summary: 'The events of the audit log, newest first',
          description: `Gives one page of the events that match the filters; \`next_cursor\` leads to the next page. ${NEEDS_ADMIN}`,
          security: BEARER,
          querystring: strictBody({ ...filter, limit: Limit, cursor: Type.Optional(Type.String({ maxLength: 256 })) }),
          response: answers({ 200: Type.Object({ events: Type.Array(EventSchema), next_cursor: Text }) }, [401, 403, 422]),
        },
      },
      async ({ query }) => {
        const filter = { ...filterOf(query), cursor: query.cursor, limit: limitOf(query) }
        const { events, nextCursor } = await read((db) => findAuditPage(db, filter))
        return { events, next_cursor: nextCursor }
      },
    )

    app.get(
      '/admin/audit/export',
      {
        config: { name: 'auth.admin.audit.export' },
        exposeHeadRoute: false, // HEAD would read the whole log and send nothing
        schema: {
          summary: 'All events of the audit log as NDJSON, oldest first',
          description: `Streams all events that match the filters, one JSON object in each line. ${NEEDS_ADMIN}`,
          security: BEARER,
          produces: ['application/x-ndjson'],
          querystring: Filter,
          // a stream: no serializer reads it
          response: { 200: Type.Unsafe<Readable>({ type: 'string' }) },
        },
      },
      async (request, reply) => {
        // the log is read no faster than the client receives it
        const lines = Readable.from(linesOf(exportAudit(read, filterOf(request.query))), { objectMode: false })
        return reply.type('application/x-ndjson').send(lines)
      },
    )
  }

async function* linesOf(events: AsyncIterable<AuditView>): AsyncGenerator<string> {
  for await (const event of events) yield `${JSON.stringify(event)}\n`
}

const filterOf = ({ user, event, outcome, actor, since, until }: Static<typeof Filter>): AuditFilter => ({
  userId: user,
  event,
  outcome,
  actor,
  since: instant('since', since),
  until: instant('until', until),
})

/** The schema accepts times that cannot be stored, such as a leap second. @throws validation_failed */
function instant(field: string, text: string | undefined): Date | undefined {
  if (text === undefined) return undefined
  const at = new Date(text)
  if (!isStorable(at)) throw invalidField(field, 'format', 'must be a valid date and time')
  return at
}
