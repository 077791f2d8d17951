import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { newUser } from '../../support/client.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { createDatabase, query } from '../../support/postgres.ts'
import { until } from '../../support/processes.ts'
import { type Relay, startRelay } from '../../support/relay.ts'
import { claimsOf, me, refresh } from '../../support/session.ts'

const INSERT = /insert into "refresh_tokens"/

describe('a database connection that is lost around the COMMIT of a refresh', () => {
  let relay: Relay
  let databaseUrl: string
  let gateway: Gateway
  beforeAll(async () => {
    databaseUrl = await createDatabase(inject('postgresUrl'))
    relay = await startRelay(Number(new URL(databaseUrl).port))
    gateway = await startGateway({ databaseUrl: relay.through(databaseUrl) })
  })
  afterAll(async () => {
    await gateway.close()
    await relay.close()
  })

  const children = (sid: string) =>
    query(databaseUrl, 'SELECT id FROM refresh_tokens WHERE session_id = $1 AND parent_id IS NOT NULL', [sid])

  it('is answered with the successor when Postgres has committed, and there is exactly one', async () => {
    const user = await newUser(gateway)
    const lost = relay.loseCommit(INSERT, 'arrives')
    const { status, body } = await refresh(gateway, user.refreshToken)
    await lost
    expect(status).toBe(200)
    expect(await children(claimsOf(user.token).sid)).toHaveLength(1)
    expect(await me(gateway, body.access_token)).toBe(200)
    expect((await refresh(gateway, body.refresh_token)).status).toBe(200)
  })

  it('is answered with the successor when Postgres is still to commit: the look waits for it', async () => {
    const user = await newUser(gateway)
    const lost = relay.loseCommit(INSERT, 'delayed')
    let isAnswered = false
    const answer = refresh(gateway, user.refreshToken).finally(() => {
      isAnswered = true
    })
    const { deliver } = await lost
    const waiting = `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
    await until(async () => isAnswered || (await query(databaseUrl, waiting)).length > 0, 'an answer, or a look that waits')
    deliver()
    await until(async () => (await children(claimsOf(user.token).sid)).length === 1, 'the commit')
    const { status, body } = await answer
    expect(status).toBe(200)
    expect((await refresh(gateway, body.refresh_token)).status).toBe(200)
  })
})
