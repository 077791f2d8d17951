/** Typical code from the documentation of each library: correct and complete, but without any cache between requests. */
import httpProxy from '@fastify/http-proxy'
import Fastify, { type FastifyRequest } from 'fastify'
import { Redis } from 'ioredis'
import { importSPKI, type JWTPayload, jwtVerify } from 'jose'
import { Counter, collectDefaultMetrics, Histogram, register } from 'prom-client'
import { RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible'

const { PORT, UPSTREAM, REDIS_URL, ISSUER, AUDIENCE, PUBLIC_KEY, LIMIT, WINDOW_SECONDS } = process.env as Record<string, string>

const redis = new Redis(REDIS_URL!)
const limiter = (keyPrefix: string) =>
  new RateLimiterRedis({ storeClient: redis, keyPrefix, points: Number(LIMIT), duration: Number(WINDOW_SECONDS) })
const perAddress = limiter('naive:address')
const perUser = limiter('naive:user')

collectDefaultMetrics()
const labelNames = ['method', 'route', 'status']
const requests = new Counter({ name: 'http_requests_total', help: 'Requests.', labelNames })
const seconds = new Histogram({ name: 'http_request_duration_seconds', help: 'Time to the last byte.', labelNames })

const publicKey = await importSPKI(PUBLIC_KEY!, 'EdDSA')
const callers = new WeakMap<object, JWTPayload>()

async function authenticate(request: FastifyRequest): Promise<JWTPayload | null> {
  const [, token] = /^Bearer (.+)$/.exec(request.headers.authorization ?? '') ?? []
  if (!token) return null
  try {
    const { payload } = await jwtVerify(token, publicKey, { issuer: ISSUER!, audience: AUDIENCE!, algorithms: ['EdDSA'] })
    return payload
  } catch {
    return null
  }
}

const app = Fastify({ logger: true })

app.addHook('onResponse', async (request, reply) => {
  const labels = { method: request.method, route: request.routeOptions.url ?? 'none', status: reply.statusCode }
  requests.inc(labels)
  seconds.observe(labels, reply.elapsedTime / 1000)
})

app.setErrorHandler(async (error, _request, reply) => {
  if (error instanceof RateLimiterRes)
    return reply
      .code(429)
      .header('retry-after', Math.ceil(error.msBeforeNext / 1000))
      .send()
  throw error
})

app.get('/metrics', async (_request, reply) => reply.type(register.contentType).send(await register.metrics()))

app.register(httpProxy, {
  upstream: UPSTREAM!,
  async preHandler(request, reply) {
    await perAddress.consume(request.ip)
    const caller = await authenticate(request)
    if (!caller) return reply.code(401).header('www-authenticate', 'Bearer').send({ error: 'unauthorized' })
    if (!(caller.roles as string[]).includes('user')) return reply.code(403).send({ error: 'forbidden' })
    await perUser.consume(caller.sub!)
    callers.set(request.raw, caller)
  },
  replyOptions: {
    rewriteRequestHeaders(request, { authorization: _, ...headers }) {
      const { sub, email, roles, sid } = callers.get(request.raw)!
      return {
        ...headers,
        'x-auth-user': sub,
        'x-auth-email': email as string,
        'x-auth-roles': (roles as string[]).join(','),
        'x-auth-session': sid as string,
      }
    },
  },
})

await app.listen({ port: Number(PORT) })
