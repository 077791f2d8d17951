/** The admin listener: livez, readyz, metrics, reload, and the console. Bound to loopback unless configured otherwise, and never on the public port. */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import { readWithoutOffer } from '../platform/http/upgrade-offer.ts'
import { CONTENT_TYPES, type Format, formatFor } from '../platform/telemetry/exposition.ts'
import { originForm } from '../proxy/routing/request-target.ts'
import type { ReloadResult } from './reload.ts'

/** A named condition of readiness, or a fact for information only. */
export interface CheckResult {
  name: string
  ok: boolean
  /** False: shown, but not needed for readiness. */
  required: boolean
}

export interface AdminDeps {
  metrics(format: Format): Promise<string>
  checks(): CheckResult[] | Promise<CheckResult[]>
  /** Reads the configuration again. */
  reload(): Promise<ReloadResult>
  /** The console in force, which has the requests below CONSOLE_BASE. Null: there is none. */
  console: (() => FastifyInstance) | null
}

export const CONSOLE_BASE = '/console'
export const ADMIN_BODY_BYTES = 16_384

export function createAdminServer({ metrics, checks, reload, console }: AdminDeps): FastifyInstance {
  const app = Fastify({
    logger: false,
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    requestTimeout: 10_000,
    bodyLimit: ADMIN_BODY_BYTES,
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
  app.get('/metrics', async ({ headers }, reply) => {
    const format = formatFor(headers.accept)
    return reply
      .header('vary', 'accept')
      .type(CONTENT_TYPES[format])
      .send(await metrics(format))
  })
  app.post('/reload', async (request, reply) => {
    if (isOfPage(request.headers))
      return reply.code(403).send({ status: 'forbidden', detail: 'Web pages cannot reload the configuration.' })
    if (!isOnThisMachine(request.socket))
      return reply.code(403).send({ status: 'forbidden', detail: 'Only the machine of the gateway can reload the configuration.' })
    const result = await reload()
    reply.code(STATUS_OF[result.status]).header('cache-control', 'no-store')
    if (result.status !== 'reloaded') return result
    const { needsRestart, ...rest } = result
    return { ...rest, needs_restart: needsRestart }
  })
  app.route({
    method: ['GET', 'PUT', 'PATCH', 'DELETE'],
    url: '/reload',
    handler: async (_request, reply) =>
      reply.code(405).header('allow', 'POST').send({ status: 'method not allowed', detail: 'Send a POST.' }),
  })
  if (console) void app.register(handOver(console))
  return app
}

const STATUS_OF: Record<ReloadResult['status'], number> = { reloaded: 200, refused: 422, stopping: 503 }

/** A browser names the page that sends a POST. The listener is on this machine, where any page that is open could reach it. */
const isOfPage = ({ origin, 'sec-fetch-site': site = 'none' }: IncomingHttpHeaders): boolean => origin !== undefined || site !== 'none'

/**
 * Prometheus and probes may reach the listener from other machines. A reload costs CPU time, and asks nobody for a credential. A peer with our
 * own address is on this machine, too: the command connects to `admin.host`.
 */
const isOnThisMachine = ({ remoteAddress, localAddress }: Socket): boolean =>
  remoteAddress !== undefined && (LOOPBACK.test(remoteAddress) || remoteAddress === localAddress)
const LOOPBACK = /^(?:(?:::ffff:)?127(?:\.\d{1,3}){3}|::1)$/

/** A console of its own for each configuration: the hook takes the whole request before its body is read. */
const handOver = (console: () => FastifyInstance) => async (scope: FastifyInstance) => {
  scope.addHook('onRequest', (request, reply, _done) => {
    reply.hijack()
    console().routing(request.raw, reply.raw)
  })
  for (const url of [CONSOLE_BASE, `${CONSOLE_BASE}/*`]) scope.all(url, async () => {})
}
