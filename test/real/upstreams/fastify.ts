/** Fastify. Run by: node fastify.ts PORT PREFIX */
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import Fastify from 'fastify'

const [port, prefix = ''] = process.argv.slice(2)
const app = Fastify({ bodyLimit: 10_000_000 })
app.removeAllContentTypeParsers()
app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))

await app.register(
  async (routes) => {
    routes.get('/small', (request) => ({ url: request.url, headers: request.headers }))
    routes.get('/large', (_request, reply) => reply.send(Buffer.alloc(1_000_000, '0123456789abcdef')))
    routes.get('/empty', (_request, reply) => reply.send(''))
    routes.get('/none', (_request, reply) => reply.status(204).send())
    routes.get('/chunked', (_request, reply) => reply.type('text/plain').send(Readable.from(['one ', 'two ', 'three'])))
    routes.all('/echo', (request) => ({
      method: request.method,
      url: request.url,
      sha256: createHash('sha256')
        .update((request.body as Buffer | undefined) ?? '')
        .digest('hex'),
      headers: request.headers,
    }))
    routes.get('/redirect', (_request, reply) => reply.redirect(`${prefix}/small`))
    routes.get('/cookies', (request, reply) => reply.header('set-cookie', ['a=1; Path=/', 'b=2']).send(request.headers.cookie))
    routes.get('/status/500', () => {
      throw new Error('on purpose')
    })
    routes.post('/early', { bodyLimit: 1000 }, () => 'never')
    const events = Readable.from.bind(null, ['data: 1\n\n', 'data: 2\n\n'])
    routes.get('/events', (_request, reply) => reply.type('text/event-stream').send(events()))
    routes.post('/completion', (_request, reply) => reply.type('text/event-stream').send(events()))
    routes.get('/poll', async () => {
      await new Promise((resolve) => setTimeout(resolve, 200))
      return 'at last'
    })
  },
  { prefix },
)
await app.listen({ port: Number(port), host: '127.0.0.1' })
