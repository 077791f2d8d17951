/** What the role `admin` may see. */
import { Type } from 'typebox'
import type { ErrorRecord } from '../http/observe.ts'
import type { FastifyTypeProviderTypebox } from '../http/type-provider.ts'
import { answers, type Caller } from './schemas.ts'

const ErrorRecordSchema = Type.Object({
  timestamp: Type.String(),
  request_id: Type.String(),
  code: Type.String(),
  status: Type.Integer(),
  route: Type.String(),
  method: Type.String(),
  cause: Type.String(),
})

export const adminRoutes =
  ({ lastErrors, caller }: { lastErrors: () => Promise<ErrorRecord[]>; caller: Caller }) =>
  async (app: FastifyTypeProviderTypebox) => {
    app.get(
      '/admin/errors',
      {
        config: { name: 'auth.admin.errors' },
        schema: {
          summary: 'The last 100 errors, newest first, with their causes',
          security: [{ bearer: [] }],
          response: answers({ 200: Type.Object({ errors: Type.Array(ErrorRecordSchema) }) }, [401, 403]),
        },
      },
      async (request) => {
        await caller.demand(request, { role: 'admin' })
        return { errors: await lastErrors() }
      },
    )
  }
