import httpProxy from '@fastify/http-proxy'
import Fastify from 'fastify'

const app = Fastify()
app.register(httpProxy, { upstream: process.env.UPSTREAM! })
await app.listen({ port: Number(process.env.PORT) })
