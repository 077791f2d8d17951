/** One Postgres and one Redis for the whole run, ended with it. Tests that kill a dependency start their own. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
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
    /** A migrated data folder, once somebody has needed it: see embedded.ts. */
    embeddedTemplate: string
  }
}

interface Neighbours {
  postgresUrl: string
  redisUrl: string
  embeddedTemplate: string
  stop(): Promise<void>
}

/** Each project evaluates this file for itself, so shared state is stored on `process`. */
const run = globalThis as { testNeighbours?: { started: Promise<Neighbours>; users: number } }

export default async function setup(project: TestProject) {
  run.testNeighbours ??= { started: startNeighbours(), users: 0 }
  const shared = run.testNeighbours
  shared.users++
  const { postgresUrl, redisUrl, embeddedTemplate, stop } = await shared.started
  project.provide('postgresUrl', postgresUrl)
  project.provide('redisUrl', redisUrl)
  project.provide('embeddedTemplate', embeddedTemplate)
  return async () => {
    shared.users--
    if (shared.users > 0) return
    delete run.testNeighbours
    await stop()
  }
}

async function startNeighbours(): Promise<Neighbours> {
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
  await migrateUp(template)
  await template.close()
  const dir = mkdtempSync(join(tmpdir(), 'portcullis-embedded-'))
  return {
    postgresUrl: postgres.url,
    redisUrl: redis.url,
    embeddedTemplate: join(dir, 'template'),
    async stop() {
      await Promise.all([postgres.stop(), redis.stop()])
      rmSync(dir, { recursive: true, force: true })
    },
  }
}
