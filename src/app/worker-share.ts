/** How many workers serve, and what each of them has of the settings that count for the whole gateway. */
import { availableParallelism } from 'node:os'
import type { Config } from '../platform/config/schema.ts'

/** `auto`: one worker for each core that this process may use. A store that is private to one process allows only one. */
export function countWorkers({ server: { workers }, database, redis }: Config): number {
  if (database.url === 'embedded' || redis.url === 'memory') return 1
  return workers === 'auto' ? availableParallelism() : workers
}

/** Divides among the workers the settings that count for the whole gateway. */
export function shareOf(config: Config, workers: number): Config {
  const { server, database, auth } = config
  const share = (whole: number, atLeast = 1) => Math.max(atLeast, Math.ceil(whole / workers))
  const { argon2 } = auth.password
  // rounded down: `concurrency` bounds the memory of the whole gateway. With more workers than that, each hash needs a permit
  const concurrency = Math.max(1, Math.floor(argon2.concurrency / workers))
  return {
    ...config,
    server: { ...server, maxConnections: share(server.maxConnections) },
    // a transaction may need a second connection, because a lock is held on a connection of its own
    database: { ...database, poolSize: share(database.poolSize, 2) },
    auth: {
      ...auth,
      password: { ...auth.password, argon2: { ...argon2, concurrency, queue: share(argon2.queue) } },
    },
  }
}
