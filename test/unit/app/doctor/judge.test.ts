/** The bounds of the doctor's judgements. Real conditions are in test/integration/cli/doctor.test.ts. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { connectionsOf, judgeConnections, judgeRights, judgeSkew, judgeVersion, sizeText } from '../../../../src/app/doctor/database.ts'
import type { ServerFacts } from '../../../../src/app/doctor/database-facts.repo.ts'
import { judgeGateway, judgeNode, OLDEST_NODE } from '../../../../src/app/doctor/examine.ts'
import { judgeCores, judgeDescriptors, judgeMemory, judgeNtp, judgeSpace } from '../../../../src/app/doctor/machine.ts'
import { judgeMemoryInfo } from '../../../../src/app/doctor/redis.ts'
import { loadConfig } from '../../../../src/app/load-config.ts'
import { VERSION } from '../../../../src/platform/lib/version.ts'

const MIB = 1024 * 1024
const GIB = 1024 * MIB
const configOf = (...flags: string[]) => loadConfig({ env: {}, flags, needSecrets: false }).config
const STORES = ['database.url=postgres://db/x', 'redis.url=redis://cache']
const FACTS: ServerFacts = {
  version: '15.9 (Debian)',
  major: 15,
  maxConnections: 100,
  reserved: 3,
  ownLimit: -1,
  others: 10,
  bytes: 5 * MIB,
  canConnect: true,
  schema: 'public',
  canCreate: true,
  forbidden: 0,
  foreign: 0,
}

describe('Postgres', () => {
  it('its version and its speed', () => {
    expect(judgeVersion(FACTS, 1.24, 'postgres')).toEqual({ state: 'ok', found: 'version 15.9, answers in 1.2 ms, 5.0 MiB', advice: null })
    expect(judgeVersion({ ...FACTS, major: 14 }, 1, 'postgres').state).toBe('warn')
    expect(judgeVersion(FACTS, 51, 'postgres').state).toBe('warn')
    expect(judgeVersion(FACTS, 51, 'embedded').state).toBe('ok')
  })

  it('connections: pools, workers, supervisor and replicas', () => {
    // 10 for the pool, the poll, and one for a moment
    expect(connectionsOf(configOf(...STORES, 'server.workers=1'))).toBe(12)
    // 4 workers and the supervisor, each with ⌈10 ÷ 4⌉ = 3 and two more
    expect(connectionsOf(configOf(...STORES, 'server.workers=4'))).toBe(25)
    const config = configOf(...STORES, 'server.workers=4', 'server.replicas=3')
    expect(connectionsOf(config)).toBe(75)
    expect(judgeConnections(config, FACTS).state).toBe('ok')
    expect(judgeConnections(config, { ...FACTS, others: 23 }).state).toBe('warn')
    expect(judgeConnections(config, { ...FACTS, maxConnections: 77 })).toMatchObject({
      state: 'fail',
      advice: expect.stringContaining('at least 93'),
    })
    expect(judgeConnections(config, { ...FACTS, ownLimit: 74 }).state).toBe('fail')
  })

  it('rights', () => {
    expect(judgeRights(FACTS).state).toBe('ok')
    expect(judgeRights({ ...FACTS, schema: null }).state).toBe('fail')
    expect(judgeRights({ ...FACTS, foreign: 2 }).state).toBe('warn')
  })

  it.each([
    [0, 'ok', 'this machine is 0.0 s ahead of the database'],
    [-2.5, 'warn', 'this machine is 2.5 s behind the database'],
    [61, 'fail', 'this machine is 61 s ahead of the database'],
    [-90, 'fail', 'this machine is 90 s behind the database'],
  ])('a clock that is %s s away', (seconds, state, found) => {
    expect(judgeSkew(seconds)).toMatchObject({ state, found })
  })
})

it.each([
  ['used_memory:1048576\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n', 'ok', '1.0 MiB of no limit, noeviction'],
  ['used_memory:95\r\nmaxmemory:100\r\nmaxmemory_policy:noeviction\r\n', 'warn', '95 B of 100 B, noeviction'],
  ['used_memory:5\r\nmaxmemory:100\r\nmaxmemory_policy:volatile-ttl\r\n', 'warn', '5 B of 100 B, volatile-ttl'],
  ['', 'not checked', 'this server does not show its memory'],
])('the memory of Redis: %j', (info, state, found) => {
  expect(judgeMemoryInfo(info)).toMatchObject({ state, found })
})

it.each([
  ['22.19.0', 'ok'],
  ['24.1.0', 'ok'],
  ['22.18.9', 'fail'],
  ['20.20.2', 'fail'],
])('Node %s', (version, state) => {
  expect(judgeNode(version).state).toBe(state)
})

it('the oldest Node is that of the package', () => {
  const { engines } = JSON.parse(readFileSync('package.json', 'utf8'))
  expect(`>=${OLDEST_NODE}`).toBe(`${engines.node}.0`)
})

it('the running gateway', () => {
  const gateway = { isReady: true, failing: [], version: VERSION, owner: { pid: 7, name: 'node' } }
  expect(judgeGateway(gateway)).toMatchObject({ state: 'ok', found: `version ${VERSION}, process 7, is ready` })
  expect(judgeGateway({ ...gateway, isReady: false, failing: ['keys'] })).toMatchObject({
    state: 'fail',
    found: expect.stringContaining('keys'),
  })
  expect(judgeGateway({ ...gateway, failing: ['redis'] }).state).toBe('warn')
  expect(judgeGateway({ ...gateway, version: '0.0.1' }).state).toBe('warn')
})

describe('the machine', () => {
  const space = { path: '/data', freeBytes: 50 * GIB, totalBytes: 100 * GIB, freeFiles: 1_000_000 }
  it('disk', () => {
    expect(judgeSpace(space)).toMatchObject({ state: 'ok', found: '50.0 GiB of 100 GiB free at /data' })
    expect(judgeSpace({ ...space, freeBytes: 900 * MIB }).state).toBe('warn')
    // small, and not nearly full
    expect(judgeSpace({ ...space, freeBytes: 900 * MIB, totalBytes: GIB }).state).toBe('ok')
    expect(judgeSpace({ ...space, freeBytes: 99 * MIB }).state).toBe('fail')
    expect(judgeSpace({ ...space, freeFiles: 12 })).toMatchObject({ state: 'fail', found: '12 more files fit at /data' })
  })

  it('open files', () => {
    const config = configOf('server.maxConnections=1000')
    expect(judgeDescriptors(config, 65_536, 'here').state).toBe('ok')
    expect(judgeDescriptors(config, 1500, 'here').state).toBe('warn')
    expect(judgeDescriptors(config, 256, 'here').state).toBe('fail')
  })

  it('memory', () => {
    const config = configOf(...STORES, 'server.workers=2', 'auth.password.argon2.memoryKiB=65536', 'auth.password.argon2.concurrency=2')
    // three processes of 150 MiB, and two hashes of 64 MiB
    expect(judgeMemory(config, 577 * MIB, true, 100 * MIB)).toMatchObject({
      state: 'fail',
      found: expect.stringContaining('at least 578 MiB'),
    })
    expect(judgeMemory(config, 600 * MIB, true, 100 * MIB).state).toBe('ok')
    expect(judgeMemory(config, 600 * MIB, true, 2 * GIB)).toMatchObject({
      state: 'warn',
      advice: 'set NODE_OPTIONS=--max-old-space-size=150',
    })
    expect(judgeMemory(config, 600 * MIB, false, 2 * GIB).state).toBe('ok')
  })

  it('cores, and the time service', () => {
    expect(judgeCores(configOf(...STORES, 'server.workers=4'), 4).state).toBe('ok')
    expect(judgeCores(configOf(...STORES, 'server.workers=4'), 2).state).toBe('warn')
    expect(judgeCores(configOf('auth.password.argon2.concurrency=4'), 2).state).toBe('warn')
    expect(['yes', 'no', ''].map((answer) => judgeNtp(answer).state)).toEqual(['ok', 'warn', 'not checked'])
  })

  it('sizes', () => {
    expect([0, 1023, 1024, 1536, 150 * MIB].map(sizeText)).toEqual(['0 B', '1023 B', '1.0 KiB', '1.5 KiB', '150 MiB'])
  })
})
