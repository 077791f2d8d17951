/**
 * Starts several worker processes that serve requests. This process serves none: it replaces workers that end, answers on the admin
 * listener for all of them, and runs the jobs that must run once.
 */

import cluster, { type Worker } from 'node:cluster'
import { once } from 'node:events'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { FastifyInstance } from 'fastify'
import type { Revocation } from '../identity/sessions/revocations.repo.ts'
import type { Siblings } from '../identity/sessions/revocations.ts'
import type { Config } from '../platform/config/schema.ts'
import { schedule } from '../platform/jobs/schedule.ts'
import { readCpuWait } from '../platform/lib/cpu-wait.ts'
import { causeText } from '../platform/lib/errors.ts'
import { createIpcChannel, type IpcChannel } from '../platform/lib/ipc-channel.ts'
import type { Format } from '../platform/telemetry/exposition.ts'
import { collectLines, copyStandardError } from '../platform/telemetry/logger.ts'
import { createAccess } from './access.ts'
import { createAcmeIssuer } from './acme.ts'
import { createAdminServer } from './admin-server.ts'
import { createHealthHistory } from './console/health-history.ts'
import { createConsoleListener, hasConsole, hasConsoleListener } from './console-listener.ts'
import { showConfig } from './gauges.ts'
import { watchHandOvers } from './hand-overs.ts'
import { createHashPermits } from './hash-permits.ts'
import { type Identity, underConfig } from './identity.ts'
import { createLimits } from './limits.ts'
import { graceMs, listenAdmin, type Running, type ServeOptions } from './listen.ts'
import { createLoginServices } from './login-services.ts'
import { createMerger } from './merged-metrics.ts'
import { createObserver, newestErrors } from './observe.ts'
import { type Platform, withConfig } from './platform.ts'
import { BEAT_MS, createPulse } from './pulse.ts'
import { createReloader, type PreparedReload } from './reload.ts'
import { keyringJob, openServices } from './services.ts'
import { ASK_MS, type Assignment, SILENT_ASK_MS, type SupervisorAnswers, type WorkerAnswers } from './worker-protocol.ts'
import { shareOf } from './worker-share.ts'

interface Member {
  worker: Worker
  channel: IpcChannel<WorkerAnswers>
}

const START_MS = 60_000
/** A worker that ran this long did not fail because of its configuration. */
const HEALTHY_MS = 30_000
const FIRST_WAIT_MS = 200
const LONGEST_WAIT_MS = 30_000
const PREPARE_MS = 30_000
const COMMIT_MS = 5000

export async function supervise(options: ServeOptions, workers: number): Promise<Running> {
  const { config, logger, output } = options
  const assignment: Assignment = {
    config: shareOf(config, workers),
    secrets: options.secrets,
    tracing: options.tracing ?? null,
    workers,
    sharesHashing: workers > config.auth.password.argon2.concurrency,
  }
  const members = new Set<Member>()
  const heard: ((message: string) => void)[] = []
  const toWorkers: Siblings = {
    publish: (message) => revokeIn(members, message),
    subscribe: async (handler) => void heard.push(handler),
    revocations: () => revocationsOf(members),
  }
  const hasListener = hasConsoleListener(config)
  // without a console the supervisor limits no requests and publishes no revocations: only workers use Redis
  const redis = hasListener ? config.redis : { url: 'memory' }
  const notices = new Set<string>()
  const isFirstNotice = (reason: string): boolean => {
    const isFirst = !notices.has(reason)
    notices.add(reason)
    return isFirst
  }
  const services = await openServices({
    ...options,
    config: { ...assignment.config, redis },
    // it serves no request of users
    tracing: null,
    workers: toWorkers,
    isFirstNotice: async (reason) => isFirstNotice(reason),
  })
  const { platform, identity } = services
  const { metrics, clock } = platform
  const merged = createMerger(metrics)
  output.onDropped((lines) => metrics.logLinesDropped.inc(lines))
  const waits = new Set<NodeJS.Timeout>()
  const pulse = createPulse<Member>(clock, ({ worker }) => readCpuWait(worker.process.pid!)?.waitedMs ?? null)
  const hashPermits = createHashPermits<Member>(config.auth.password.argon2.concurrency)
  /** Workers end one at a time: the cause may concern them all, and the others still hold connections. */
  let beingReplaced: Member | null = null
  let earlyExits = 0
  let isStopping = false
  let isListening = false
  const starting = new Set<Promise<unknown>>()
  /** While a reload is under way, no worker starts: it would get the configuration before. */
  let reloading = Promise.resolve()
  metrics.workers.collectFrom(() => members.size)
  showConfig(metrics, config, clock)

  cluster.setupPrimary({
    exec: fileURLToPath(new URL(`./worker${extname(import.meta.url)}`, import.meta.url)),
    args: [],
    silent: true,
    serialization: 'advanced',
  })

  /** The answers of the workers that answer in time. */
  async function askAll<T>(asked: Iterable<Member>, ask: (member: Member, timeoutMs: number) => Promise<T>): Promise<T[]> {
    const answers = await Promise.allSettled(Array.from(asked, (member) => ask(member, pulse.isSilent(member) ? SILENT_ASK_MS : ASK_MS)))
    return answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []))
  }
  const othersThan = (member: Member) => [...members].filter((other) => other !== member)

  /** A worker that does not answer within SILENT_ASK_MS receives the message before anything that is sent to it later. */
  const revokeIn = async (asked: Iterable<Member>, message: string) =>
    void (await askAll(asked, ({ channel }) => channel.ask('revoke', message, SILENT_ASK_MS)))

  async function revocationsOf(asked: Iterable<Member>): Promise<Revocation[] | null> {
    const known = (await askAll(asked, ({ channel }, timeoutMs) => channel.ask('revocations', null, timeoutMs))).filter(
      (dump) => dump !== null,
    )
    return known.length === 0 ? null : known.flat()
  }

  function endFrozen(): void {
    const frozen = pulse.frozen()
    for (const member of isStopping ? frozen : frozen.slice(0, beingReplaced ? 0 : 1)) {
      beingReplaced = member
      logger.error({ reason: 'worker_frozen', pid: member.worker.process.pid }, 'a worker shows no sign of life: it is ended')
      // a stopped process does not receive SIGTERM
      member.worker.process.kill('SIGKILL')
    }
  }

  /** @throws when the system gives no process, for example without free descriptors */
  async function fork(): Promise<Worker> {
    const worker = cluster.fork()
    worker.on('error', () => {})
    if (worker.process.pid === undefined) throw (await once(worker.process, 'error'))[0]
    return worker
  }

  /** @returns the port, once the worker listens */
  async function launch(): Promise<number> {
    await reloading
    const started = startWorker()
    starting.add(started)
    return started.finally(() => starting.delete(started))
  }

  async function startWorker(): Promise<number> {
    const startedAt = clock.steady()
    const worker = await fork().catch((error: NodeJS.ErrnoException) => {
      if (!isStopping) launchLater(startedAt, () => {})
      throw error
    })
    const answers: SupervisorAnswers = {
      async revoke(message) {
        for (const hear of heard) hear(message)
        await revokeIn(othersThan(member), message)
      },
      beat() {
        // its last messages may arrive after its end
        if (members.has(member)) pulse.beat(member)
      },
      async takeHashPermit() {
        if (members.has(member)) await hashPermits.take(member)
      },
      giveHashPermit: () => hashPermits.give(member),
      async revocations() {
        const others = await revocationsOf(othersThan(member))
        const own = hasListener ? identity.revocations.dump() : null
        return own && others ? [...own, ...others] : (own ?? others)
      },
      lastErrors,
      health: () => history.report(),
      isFirstNotice,
    }
    const channel = createIpcChannel<WorkerAnswers>(worker.process, answers)
    const member: Member = { worker, channel }
    members.add(member)
    watchHandOvers(worker.process, clock, (waitedMs) => metrics.workerWait.observe({ where: 'accept' }, waitedMs / 1000))
    // lines of several writers would mix in one pipe
    collectLines(worker.process.stdout!, output)
    copyStandardError(worker.process.stderr!)
    worker.once('exit', (code, signal) => {
      members.delete(member)
      pulse.forget(member)
      hashPermits.give(member)
      channel.close()
      merged.retire(worker.id)
      if (isStopping) return
      metrics.workerExits.inc()
      const waitMs = launchLater(startedAt, () => {
        if (beingReplaced === member) beingReplaced = null
      })
      logger.error(
        { reason: 'worker_exit', pid: worker.process.pid, cause: signal ?? code, retry_ms: waitMs },
        'a worker has ended: a new worker replaces it',
      )
    })
    return channel.ask('start', assignment, START_MS).catch((error) => {
      // it has no work: the next worker may start
      worker.process.kill('SIGKILL')
      throw error
    })
  }

  /**
   * Starts another worker, later each time that a worker has ended soon.
   * @param startedAt of the worker that has ended @param settled called when the new worker serves, or has not started
   * @returns the milliseconds until then
   */
  function launchLater(startedAt: number, settled: () => void): number {
    earlyExits = clock.steady() - startedAt < HEALTHY_MS ? earlyExits + 1 : 0
    const waitMs = earlyExits < 2 ? 0 : Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (earlyExits - 2))
    const timer = setTimeout(() => {
      waits.delete(timer)
      launch()
        .catch((error: Error) => {
          logger.error({ reason: 'worker_start', cause: error.message }, 'a worker did not start')
        })
        .finally(settled)
    }, waitMs)
    waits.add(timer)
    return waitMs
  }

  const observer = createObserver({ config: config.log, clock, logger, metrics })
  const lastErrors = async () =>
    newestErrors([
      ...(await askAll(members, ({ channel }, timeoutMs) => channel.ask('lastErrors', null, timeoutMs))).flat(),
      ...observer.lastErrors(),
    ])

  const issuer = createAcmeIssuer(
    platform,
    options.secrets.acmeHmacKey,
    () => assignment.config,
    () => isListening,
  )
  const history = createHealthHistory({
    clock,
    async read() {
      const readings = await askAll(
        members,
        async ({ worker, channel }, timeoutMs) => [worker.id, await channel.ask('health', null, timeoutMs)] as const,
      )
      return new Map(readings.flatMap(([id, reading]) => (reading ? [[id, reading]] : [])))
    },
  })

  async function metricsOfAll(format: Format): Promise<string> {
    await askAll(members, async (member, timeoutMs) => {
      const metrics = await member.channel.ask('metrics', null, timeoutMs)
      if (members.has(member)) merged.hear(member.worker.id, metrics)
    })
    return merged.text(format)
  }

  const limits = hasListener ? createLimits(platform, config.server.replicas * workers) : null
  const consoleUnder = (platform: Platform, identity: Identity): FastifyInstance | null => {
    if (!limits) return null
    const access = createAccess(platform, identity, limits)
    const loginServices = createLoginServices({ platform, identity, access, limits })
    return createConsoleListener({ platform, identity, access, loginServices, observer, lastErrors, health: async () => history.report() })
  }
  if (hasListener) await platform.dataFiles.prepare(config)
  let console = consoleUnder(platform, identity)

  async function buildOwn(shared: Config) {
    if (hasListener) await platform.dataFiles.prepare(shared)
    const nextPlatform = withConfig(platform, { ...shared, redis })
    const nextConsole = consoleUnder(nextPlatform, underConfig(identity, nextPlatform))
    await nextConsole?.ready()
    return { nextPlatform, nextConsole }
  }

  /** The parts of this process. */
  async function prepareOwn(shared: Config): Promise<PreparedReload> {
    const { nextPlatform, nextConsole } = await buildOwn(shared).catch((error) => {
      services.keepOnly(assignment.config)
      throw error
    })
    return {
      commit() {
        void console?.close()
        console = nextConsole
        platform.composeBy(nextPlatform)
        services.keepOnly(shared)
        observer.logBy(shared.log)
        logger.level = shared.log.level
      },
      cancel() {
        services.keepOnly(assignment.config)
        void nextConsole?.close()
      },
    }
  }

  /** All workers prepare the configuration before the first of them puts it in force. @throws when one of them cannot */
  async function prepareReload(next: Config): Promise<PreparedReload> {
    const { promise, resolve: release } = Promise.withResolvers<void>()
    reloading = promise
    await Promise.allSettled(starting)
    const shared = shareOf(next, workers)
    const asked = [...members]
    const cancelIn = () => askAll(asked, ({ channel }, timeoutMs) => channel.ask('cancelReload', null, timeoutMs))
    try {
      const own = await prepareOwn(shared)
      const prepared = await Promise.allSettled(asked.map(({ channel }) => channel.ask('prepareReload', shared, PREPARE_MS)))
      // a worker that has ended meanwhile is replaced: its successor starts with the configuration in force
      const failures = prepared.flatMap((result, i) => (result.status === 'rejected' && members.has(asked[i]!) ? [result.reason] : []))
      if (failures.length) {
        own.cancel()
        throw new Error([...new Set(failures.map(causeText))].join('; '))
      }
      return {
        async commit() {
          assignment.config = shared
          own.commit()
          issuer?.hurry()
          await Promise.all(asked.filter((member) => members.has(member)).map(commitIn))
          release()
        },
        cancel() {
          own.cancel()
          void cancelIn()
          release()
        },
      }
    } catch (error) {
      await cancelIn()
      release()
      throw error
    }
  }

  /** A worker that does not answer is ended, so that none goes on with the configuration before. */
  const commitIn = ({ worker, channel }: Member) =>
    channel.ask('commitReload', null, COMMIT_MS).catch(() => void worker.process.kill('SIGKILL'))

  const reloader = createReloader({
    source: options.source ?? null,
    config,
    secrets: options.secrets,
    prepare: prepareReload,
    logger,
    metrics,
    clock,
  })

  const admin = createAdminServer({
    metrics: metricsOfAll,
    // as ready as the readiest worker: only ready workers are given connections
    checks: async () => {
      const answers = await askAll(members, ({ channel }, timeoutMs) => channel.ask('checks', null, timeoutMs))
      const readiest = answers.sort((a, b) => countOk(b) - countOk(a))[0] ?? []
      return [{ name: `workers (${answers.length} of ${workers})`, ok: answers.length > 0, required: true }, ...readiest]
    },
    reload: () => reloader.reload('command'),
    console: hasListener ? () => console! : null,
  })
  let stopJobs = async () => {}
  const pulseTimer = setInterval(endFrozen, BEAT_MS)

  async function stop(): Promise<void> {
    isStopping = true
    reloader.stop()
    for (const timer of waits) clearTimeout(timer)
    const left = [...members].map(async ({ worker, channel }) => {
      // `close` comes after the last lines of its output have been read
      const gone = once(worker.process, 'close')
      channel.ask('stop', null, graceMs(config)).catch(() => worker.process.kill('SIGKILL'))
      await gone
    })
    await Promise.all([...left, stopJobs()])
    clearInterval(pulseTimer)
    await admin.close()
    await services.close()
  }

  try {
    await console?.ready()
    const adminPort = await listenAdmin(admin, config)
    await identity.prepare({ ...options.secrets, mustChangePassword: options.adminMustChangePassword })
    if (hasListener) await identity.revocations.start()
    stopJobs = schedule(
      [
        ...services.jobs,
        ...(issuer ? [issuer.job] : []),
        ...(hasListener ? [keyringJob(services)] : []),
        ...(hasConsole(config) ? [history.job] : []),
      ],
      logger,
    )
    // the gateway is ready with its first worker, which need not share the processors with the starts of the others
    const port = await launch()
    await Promise.all(Array.from({ length: workers - 1 }, launch))
    isListening = true
    reloader.begin()
    return { port, adminPort, stop, reload: reloader.reload }
  } catch (error) {
    await stop().catch(() => undefined)
    throw error
  }
}

const countOk = (checks: { ok: boolean }[]): number => checks.filter(({ ok }) => ok).length
