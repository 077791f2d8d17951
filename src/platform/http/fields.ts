import type { FastifyReply } from 'fastify'

/** For an answer of our own. @param fields name, value, name, value … */
export function setFields(reply: FastifyReply, fields: readonly string[]): FastifyReply {
  for (let i = 0; i < fields.length; i += 2) reply.header(fields[i]!, fields[i + 1]!)
  return reply
}
