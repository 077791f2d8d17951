/** Fastify's own compilers of schemas. Each schema is compiled once, because a reload builds all endpoints again. */
import { createRequire } from 'node:module'
import type { SchemaCompilers } from './server.ts'

type Build = (externalSchemas: unknown, options?: unknown) => (route: { schema: unknown }) => unknown

/** The same schema gives the same function: no generation adds schemas, and all have the same options. */
function once(build: Build): Build {
  const made = new Map<string, unknown>()
  return (externalSchemas, options) => {
    const compile = build(externalSchemas, options)
    return (route) => {
      const key = JSON.stringify([externalSchemas, route.schema])
      if (!made.has(key)) made.set(key, compile(route))
      return made.get(key)
    }
  }
}

/** The versions that Fastify itself uses. */
const fromFastify = createRequire(createRequire(import.meta.url).resolve('fastify'))

export const createSchemaCompilers = (): SchemaCompilers =>
  ({
    buildValidator: once(fromFastify('@fastify/ajv-compiler')()),
    buildSerializer: once(fromFastify('@fastify/fast-json-stringify-compiler')()),
  }) as unknown as SchemaCompilers
