/**
 * Mounts `{prefix}/verify`. The stages of the pipeline judge the client's request. The answer is put in the form that the proxy can pass on.
 */
import type { FastifyInstance, FastifyReply, HTTPMethods, onSendHookHandler } from 'fastify'
import type { CrossSite } from '../identity/access/cross-site.ts'
import type { Config } from '../platform/config/schema.ts'
import { problem } from '../platform/lib/errors.ts'
import { linger } from '../platform/request/drain.ts'
import type { Pipeline } from '../proxy/pipeline.ts'
import { type Dialect, verifyPathOf } from '../proxy/routing/asked-request.ts'
import { type Exchange, exchangeOf } from '../proxy/routing/exchange.ts'
import { PROXIED_METHODS } from '../proxy/routing/proxied-methods.ts'

export interface ForwardAuthDeps {
  config: Pick<Config, 'forwardAuth' | 'auth'>
  pipeline: Pick<Pipeline, 'run'>
  crossSite: Pick<CrossSite, 'ownOrigin'>
}

/** Does nothing without `forwardAuth`. */
export async function mountForwardAuth(server: FastifyInstance, { config, pipeline, crossSite }: ForwardAuthDeps): Promise<void> {
  const { forwardAuth, auth } = config
  if (!forwardAuth) return
  await server.register(async (verify) => {
    verify.addHook('onRequest', pipeline.run)
    verify.addHook('onSend', createAdaptAnswer(forwardAuth.dialect, crossSite))
    verify.route({
      method: [...PROXIED_METHODS] as HTTPMethods[],
      url: verifyPathOf(auth.prefix),
      handler: () => {
        throw problem('internal', { cause: 'a question of a proxy passed the pipeline without an answer' })
      },
    })
  })
}

/** The body of a question is never read: the connection ends with the answer, so that its bytes are not read as a request. */
const createAdaptAnswer =
  (dialect: Dialect, crossSite: ForwardAuthDeps['crossSite']): onSendHookHandler =>
  (request, reply, payload, done) => {
    const exchange = exchangeOf(request.raw)
    if (isYes(reply.statusCode, exchange)) reply.code(403)
    toAbsolute(reply, crossSite.ownOrigin(request.raw, exchange.client))
    if (dialect === 'nginx') reply.code(statusForNginx(reply.statusCode, exchange))
    if (request.raw.headers['transfer-encoding'] !== undefined || Number(request.raw.headers['content-length'] ?? 0) !== 0) {
      linger(request.raw.socket)
      reply.header('connection', 'close')
    }
    done(null, payload)
  }

/** An answer of a stage would be a yes to the proxy, though not all stages have passed. */
const isYes = (status: number, { asked }: Exchange): boolean =>
  !asked?.isAllowed && (status === 200 || (status > 200 && status < 300 && asked?.admitsAll2xx !== false))

/** Traefik would complete a path with its own name for the gateway. */
function toAbsolute(reply: FastifyReply, origin: string | null): void {
  const location = reply.getHeader('location')
  if (origin !== null && typeof location === 'string' && location.startsWith('/')) reply.header('location', origin + location)
}

/**
 * nginx passes on 401 and 403, and answers 500 for every other refusal. A redirect to the login keeps the status of its reason, and
 * `Location` for the configuration of nginx. A failure of the gateway stays one.
 */
function statusForNginx(status: number, { error }: Exchange): number {
  if (status < 300 || status === 401 || status >= 500) return status
  return status === 303 && error?.status === 401 ? 401 : 403
}
