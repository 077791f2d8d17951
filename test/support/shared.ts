/** Shared by the gateways of one test process, because they take most of a start: the hashing process and Fastify's compiled schemas. */
import { createRequire } from 'node:module'
import type { SchemaCompilers } from '../../src/app/server.ts'
import { type Argon2Parameters, createHasher, type Hasher } from '../../src/identity/credentials/hasher.ts'

/** The lowest values that a configuration allows. */
export const CHEAP = { memoryKiB: 1024, passes: 1, concurrency: 4 }

let cheapHasher: Hasher | undefined

/** Undefined for other parameters: the gateway then starts its own process. */
export function hasherFor({ memoryKiB, passes, concurrency }: Argon2Parameters & { concurrency: number }): Hasher | undefined {
  if (memoryKiB !== CHEAP.memoryKiB || passes !== CHEAP.passes || concurrency !== CHEAP.concurrency) return undefined
  cheapHasher ??= createHasher(CHEAP, CHEAP.concurrency)
  // it outlives each gateway, and ends with the test process
  return { ...cheapHasher, close() {} }
}

type Build = (externalSchemas: unknown, options?: any) => (route: any) => any

/** Caches by schema: the same schema gives the same function, since no gateway adds schemas and all have the same options. */
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

const fromFastify = createRequire(createRequire(import.meta.url).resolve('fastify'))

/** Fastify's own compilers; each schema is compiled once. */
export const compilers: SchemaCompilers = {
  buildValidator: once(fromFastify('@fastify/ajv-compiler')()),
  buildSerializer: once(fromFastify('@fastify/fast-json-stringify-compiler')()),
}
