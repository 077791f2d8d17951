import type { FastifyReply } from 'fastify'

/** For a response of the gateway itself. @param fields name, value, name, value … */
export function setFields(reply: FastifyReply, fields: readonly string[]): FastifyReply {
  for (let i = 0; i < fields.length; i += 2) reply.header(fields[i]!, fields[i + 1]!)
  return reply
}
