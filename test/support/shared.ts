/** Shared by the gateways of one test process, because they take most of a start: the hashing process and Fastify's compiled schemas. */
import { createSchemaCompilers } from '../../src/app/schema-compilers.ts'
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

/** Each schema is compiled once for all gateways. */
export const compilers = createSchemaCompilers()
