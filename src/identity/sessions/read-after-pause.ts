/**
 * After a pause of this process its revocations are read again before they are used: other gateways may have revoked tokens meanwhile. They
 * come from the database, or else from a sibling process that did not pause. Requests wait for that, but not for long.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Clock, systemClock } from '../../platform/lib/clock.ts'
import { unavailable } from '../../platform/lib/errors.ts'
import { createPauseWatch } from '../../platform/lib/pause-watch.ts'
import type { Logger } from '../../platform/telemetry/logger.ts'

export interface ReadAfterPause {
  start(): void
  stop(): void
  /** For each request. @returns null when nothing must be read. The promise rejects with 503 when nothing could be read */
  ready(): Promise<void> | null
  /** The revocations could not be read after a long pause. */
  isRefusing(): boolean
}

export interface ReadAfterPauseDeps {
  /** Begins a new read. @returns whether it succeeded */
  readDatabase(): Promise<boolean>
  readSiblings(): Promise<boolean>
  logger: Logger
  /** The clock of this machine. */
  system?: Clock | undefined
}

/** As long as the interval of the poll. */
const PAUSE_MS = 1000
/** While the database is away, a gateway goes on with the revocations that it knows. A shorter pause changes nothing about that. */
const TOLERATED_MS = 30_000
const SIBLINGS_AFTER_MS = 300
const DEADLINE_MS = 1500
const RETRY_MS = 500

interface Doubt {
  pauseMs: number
  /** Another pause came during the read. */
  isReadOutdated: boolean
  isRefusing: boolean
  /** Rejected while it refuses. */
  waiting: Promise<void>
}

export function createReadAfterPause({ readDatabase, readSiblings, logger, system = systemClock }: ReadAfterPauseDeps): ReadAfterPause {
  const watch = createPauseWatch(system, PAUSE_MS, begin)
  let isRunning = false
  let doubt: Doubt | null = null

  function begin(pauseMs: number): void {
    logger.warn(
      { reason: 'process_paused', pause_ms: Math.round(pauseMs) },
      'this process did not run for a while: it reads the revocations',
    )
    if (doubt) {
      doubt.pauseMs = Math.max(doubt.pauseMs, pauseMs)
      doubt.isReadOutdated = true
      return
    }
    const opened: Doubt = { pauseMs, isReadOutdated: false, isRefusing: false, waiting: Promise.resolve() }
    doubt = opened
    opened.waiting = settle(opened)
    // no request may be waiting
    opened.waiting.catch(() => {})
  }

  async function settle(opened: Doubt): Promise<void> {
    if (await confirm(opened)) return end()
    opened.isRefusing = true
    void retry(opened)
    throw refusal(opened)
  }

  function end(): void {
    doubt = null
  }

  async function retry(opened: Doubt): Promise<void> {
    while (isRunning && doubt === opened) {
      await sleep(RETRY_MS, undefined, { ref: false })
      if (await confirm(opened)) return end()
    }
  }

  /** @returns whether the revocations may be used again */
  async function confirm(opened: Doubt): Promise<boolean> {
    let isRead: boolean
    do {
      opened.isReadOutdated = false
      isRead = await readAgain()
      watch.look()
    } while (opened.isReadOutdated)
    return isRead || opened.pauseMs < TOLERATED_MS
  }

  async function readAgain(): Promise<boolean> {
    const database = readDatabase()
    if (await Promise.race([database, falseAfter(SIBLINGS_AFTER_MS)])) return true
    return Promise.race([isAnyTrue([database, readSiblings()]), falseAfter(DEADLINE_MS)])
  }

  return {
    start() {
      isRunning = true
      watch.start()
    },
    stop() {
      isRunning = false
      watch.stop()
      end()
    },
    ready() {
      watch.look()
      return doubt === null ? null : doubt.waiting
    },
    isRefusing: () => doubt?.isRefusing ?? false,
  }
}

const refusal = ({ pauseMs }: Doubt) =>
  unavailable(`this process did not run for ${Math.round(pauseMs / 1000)} s, and the revocations cannot be read`)

const falseAfter = (ms: number): Promise<boolean> => sleep(ms, false, { ref: false })

/** Resolves with true at the first true answer. */
const isAnyTrue = (answers: Promise<boolean>[]): Promise<boolean> =>
  Promise.any(
    answers.map(async (answer) => {
      if (!(await answer)) throw new Error('not read')
    }),
  ).then(
    () => true,
    () => false,
  )
