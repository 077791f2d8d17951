/** What a process does after it did not run for a while. Its clocks are moved by hand. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createReadAfterPause, type ReadAfterPause } from '../../../src/identity/sessions/read-after-pause.ts'
import { createLogger } from '../../../src/platform/telemetry/logger.ts'
import { until } from '../../support/processes.ts'

const machine = { wall: 0, steady: 0 }
let reads: string[]
/** How the database and the siblings answer. */
let database: () => Promise<boolean>
let siblings: () => Promise<boolean>
let lines: string[]
let afterPause: ReadAfterPause

beforeEach(() => {
  machine.wall = 1_000_000
  machine.steady = 0
  reads = []
  lines = []
  database = async () => true
  siblings = async () => false
  afterPause = createReadAfterPause({
    readDatabase() {
      reads.push('database')
      return database()
    },
    readSiblings() {
      reads.push('siblings')
      return siblings()
    },
    logger: createLogger('info', { write: (line) => void lines.push(line) }),
    system: { now: () => machine.wall, steady: () => machine.steady },
  })
  afterPause.start()
})
afterEach(() => afterPause.stop())

const pause = (ms: number, { wall = ms, steady = ms } = {}) => {
  machine.wall += wall
  machine.steady += steady
}
const outcome = async () => {
  const waiting = afterPause.ready()
  return waiting === null
    ? 'goes on'
    : waiting.then(
        () => 'waited',
        (error) => [error.code, error.headers],
      )
}
const REFUSED = ['unavailable', { 'retry-after': expect.stringMatching(/^[123]$/) }]

describe('after a pause', () => {
  it.each([
    ['that both clocks show', { wall: 5000, steady: 5000 }],
    ['while the steady clock stood still, as on a machine that sleeps', { wall: 5000, steady: 0 }],
    ['while the wall clock was set back', { wall: -3_600_000, steady: 5000 }],
  ])('%s, a request waits until the revocations are read', async (_, clocks) => {
    pause(0, clocks)
    expect(await outcome()).toBe('waited')
    expect(reads).toEqual(['database'])
    expect(await outcome()).toBe('goes on')
    expect(JSON.parse(lines[0]!)).toMatchObject({ reason: 'process_paused', pause_ms: 5000 })
  })

  it.each([
    ['that is shorter than the poll', { wall: 900, steady: 900 }],
    ['of no length: the wall clock was set back', { wall: -300_000, steady: 10 }],
  ])('%s, nothing is read', async (_, clocks) => {
    pause(0, clocks)
    expect(await outcome()).toBe('goes on')
    expect(reads).toEqual([])
  })

  it('all requests wait for one read', async () => {
    pause(60_000)
    expect(await Promise.all([outcome(), outcome(), outcome()])).toEqual(['waited', 'waited', 'waited'])
    expect(reads).toEqual(['database'])
  })

  it('without a request the timer notices the pause', async () => {
    pause(60_000)
    await until(async () => reads.length > 0, 'the read')
    expect(reads).toEqual(['database'])
  })

  it('a sibling answers for a database that is away', async () => {
    database = async () => false
    siblings = async () => true
    pause(3_600_000)
    expect(await outcome()).toBe('waited')
    expect(reads).toEqual(['database', 'siblings'])
    expect(await outcome()).toBe('goes on')
  })

  it('a sibling answers for a database that does not answer', async () => {
    database = () => new Promise(() => {})
    siblings = async () => true
    pause(3_600_000)
    expect(await outcome()).toBe('waited')
  })

  it('of less than 30 s, requests go on when nothing can be read', async () => {
    database = async () => false
    pause(28_000)
    expect(await outcome()).toBe('waited')
    expect(await outcome()).toBe('goes on')
    expect(afterPause.isRefusing()).toBe(false)
  })

  it.each([
    ['is away', async () => false],
    ['does not answer', () => new Promise<boolean>(() => {})],
  ])('of more than 30 s, requests get 503 while the database %s, and no longer', async (_, away) => {
    database = away
    pause(31_000)
    expect(await outcome()).toEqual(REFUSED)
    expect(afterPause.isRefusing()).toBe(true)
    // no request waits again for what was just tried
    expect(await outcome()).toEqual(REFUSED)
    database = async () => true
    await until(async () => (await outcome()) === 'goes on', 'the database')
    expect(afterPause.isRefusing()).toBe(false)
  })

  it('a sibling ends the refusal, too', async () => {
    database = async () => false
    pause(31_000)
    expect(await outcome()).toEqual(REFUSED)
    siblings = async () => true
    await until(async () => (await outcome()) === 'goes on', 'the sibling')
  })

  it('a read that another pause interrupts does not count', async () => {
    let answer = (_isRead: boolean) => {}
    database = () => new Promise((resolve) => (answer = resolve))
    pause(5000)
    const waiting = outcome()
    pause(40_000)
    const interrupted = answer
    interrupted(true)
    await until(async () => answer !== interrupted, 'the second read')
    answer(true)
    expect(await waiting).toBe('waited')
    expect(reads).toEqual(['database', 'database'])
    expect(await outcome()).toBe('goes on')
  })

  it('a process that is stopping reads nothing', async () => {
    afterPause.stop()
    pause(60_000)
    expect(await outcome()).toBe('goes on')
    expect(reads).toEqual([])
  })
})
