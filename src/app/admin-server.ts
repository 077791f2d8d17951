/** The admin listener: livez, readyz, metrics, and the console. Bound to loopback unless configured otherwise, and never on the public port. */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import { readWithoutOffer } from '../platform/http/upgrade-offer.ts'
import { originForm } from '../proxy/routing/request-target.ts'

/** A named condition of readiness, or a fact for information only. */
export interface CheckResult {
  name: string
  ok: boolean
  /** False: shown, but not needed for readiness. */
  required: boolean
}

export interface AdminDeps {
  /** In the text format of Prometheus. */
  metrics(): Promise<string>
  contentType: string
  checks(): CheckResult[] | Promise<CheckResult[]>
  /** Registers the console. Null: there is none. */
  mountConsole: ((admin: FastifyInstance) => Promise<void>) | null
}

export function createAdminServer({ metrics, contentType, checks, mountConsole }: AdminDeps): FastifyInstance {
  const app = Fastify({
    logger: false,
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    requestTimeout: 10_000,
    bodyLimit: 16_384,
    rewriteUrl: (req) => originForm(req as IncomingMessage),
  })
  Object.assign(app.server, { httpAllowHalfOpen: true }) // missing in @types/node
  app.server.on('upgrade', (req, socket, head) => readWithoutOffer(app.server, req, socket as Socket, head))
  // an answer shows that the process runs: nothing else is checked
  app.get('/livez', async () => ({ status: 'alive' }))
  app.get<{ Querystring: { verbose?: string } }>('/readyz', async (request, reply) => {
    const results = await checks()
    const isReady = results.every((r) => r.ok || !r.required)
    reply.code(isReady ? 200 : 503).header('cache-control', 'no-store')
    const status = isReady ? 'ready' : 'not ready'
    return request.query.verbose === undefined ? { status } : { status, checks: results }
  })
  app.get('/metrics', async (_request, reply) => reply.type(contentType).send(await metrics()))
  if (mountConsole) void app.register(mountConsole)
  return app
}
