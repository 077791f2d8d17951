/** One Postgres and one Redis for the whole run, ended with it. Tests that kill a neighbour start one of their own. */
import type { TestProject } from 'vitest/node'
import { openDatabase } from '../../src/platform/db/database.ts'
import { migrateUp } from '../../src/platform/db/migrate.ts'
import { createLogger } from '../../src/platform/telemetry/logger.ts'
import { query, startPostgres } from './postgres.ts'
import { startRedis } from './redis.ts'

declare module 'vitest' {
  interface ProvidedContext {
    postgresUrl: string
    redisUrl: string
  }
}

export default async function setup(project: TestProject) {
  const postgres = await startPostgres()
  const redis = await startRedis().catch(async (error) => {
    await postgres.stop()
    throw error
  })
  await query(postgres.url, 'CREATE DATABASE portcullis_template')
  const template = await openDatabase(
    { url: postgres.url.replace(/\/postgres$/, '/portcullis_template'), dataDir: '', poolSize: 1 },
    createLogger('silent'),
  )
  await migrateUp(template.db)
  await template.close()
  project.provide('postgresUrl', postgres.url)
  project.provide('redisUrl', redis.url)
  return async () => {
    await Promise.all([postgres.stop(), redis.stop()])
  }
}
