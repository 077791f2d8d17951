import Fastify from 'fastify'
import { portcullis } from './portcullis.js'

const { PORT, ISSUER: issuer, AUDIENCE: audience, JWKS_URI: jwksUri } = process.env

const app = Fastify()
portcullis(app, { issuer, audience, jwksUri })
app.get('/me', async (request, reply) => {
  if (request.caller === null) return reply.code(401).send({ error: 'Log in first.' })
  return request.caller
})
await app.listen({ port: Number(PORT), host: '127.0.0.1' })
