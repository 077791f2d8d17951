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
import { createIpcChannel, type IpcChannel } from '../platform/lib/ipc-channel.ts'
import { collectLines } from '../platform/telemetry/logger.ts'
import { createAccess } from './access.ts'
import { createAdminServer } from './admin-server.ts'
import { createHealthHistory } from './console/health-history.ts'
import { createConsoleListener, hasConsole, hasConsoleListener } from './console-listener.ts'
import { showConfig } from './gauges.ts'
import type { Identity } from './identity.ts'
import { createLimits } from './limits.ts'
import { graceMs, listenAdmin, type Running, type ServeOptions } from './listen.ts'
import { createLoginServices } from './login-services.ts'
import { createMerger } from './merged-metrics.ts'
import { createObserver, newestErrors } from './observe.ts'
import type { Platform } from './platform.ts'
import { keyringJob, openServices } from './services.ts'
import { ASK_MS, type Assignment, type SupervisorAnswers, type WorkerAnswers } from './worker-protocol.ts'

interface Member {
  worker: Worker
  channel: IpcChannel<WorkerAnswers>
  startedAt: number
}

const START_MS = 60_000
/** A worker that ran this long did not fail because of its configuration. */
const HEALTHY_MS = 30_000
const FIRST_WAIT_MS = 200
const LONGEST_WAIT_MS = 30_000

export async function supervise(options: ServeOptions, workers: number): Promise<Running> {
  const { config, logger, output } = options
  const assignment: Assignment = { config: shareOf(config, workers), secrets: options.secrets, workers }
  const members = new Set<Member>()
  const heard: ((message: string) => void)[] = []
  const toWorkers: Siblings = {
    publish: async (message) => void (await askAll(({ channel }) => channel.ask('revoke', message, ASK_MS))),
    subscribe: async (handler) => void heard.push(handler),
    revocations: () => revocationsOf(members),
  }
  const hasListener = hasConsoleListener(config)
  // without a console the supervisor limits no requests and publishes no revocations: only workers use Redis
  const redis = hasListener ? config.redis : { url: 'memory' }
  const services = await openServices({ ...options, config: { ...assignment.config, redis }, workers: toWorkers })
  const { platform, identity } = services
  const { metrics, clock } = platform
  const merged = createMerger(metrics)
  const waits = new Set<NodeJS.Timeout>()
  const notices = new Set<string>()
  let earlyExits = 0
  let isStopping = false
  metrics.workers.collectFrom(() => members.size)
  showConfig(metrics, config)

  cluster.setupPrimary({
    exec: fileURLToPath(new URL(`./worker${extname(import.meta.url)}`, import.meta.url)),
    args: [],
    silent: true,
    serialization: 'advanced',
  })

  /** The answers of all workers that answer in time. */
  async function askAll<T>(ask: (member: Member) => Promise<T>): Promise<T[]> {
    const answers = await Promise.allSettled([...members].map(ask))
    return answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []))
  }

  async function revocationsOf(asked: Iterable<Member>): Promise<Revocation[] | null> {
    const dumps = await Promise.allSettled(Array.from(asked, ({ channel }) => channel.ask('revocations', null, ASK_MS)))
    const known = dumps.flatMap((dump) => (dump.status === 'fulfilled' && dump.value ? [dump.value] : []))
    return known.length === 0 ? null : known.flat()
  }

  /** @returns the port, once the worker listens */
  async function launch(): Promise<number> {
    const worker = cluster.fork()
    const answers: SupervisorAnswers = {
      async revoke(message) {
        for (const hear of heard) hear(message)
        await askAll((other) => (other === member ? Promise.resolve() : other.channel.ask('revoke', message, ASK_MS)))
      },
      async revocations() {
        const others = await revocationsOf([...members].filter((other) => other !== member))
        const own = hasListener ? identity.revocations.dump() : null
        return own && others ? [...own, ...others] : (own ?? others)
      },
      lastErrors,
      health: () => history.report(),
      isFirstNotice(reason) {
        const isFirst = !notices.has(reason)
        notices.add(reason)
        return isFirst
      },
    }
    const channel = createIpcChannel<WorkerAnswers>(worker.process, answers)
    const member: Member = { worker, channel, startedAt: clock.steady() }
    members.add(member)
    // lines of several writers would mix in one pipe
    collectLines(worker.process.stdout!, output)
    worker.process.stderr!.pipe(process.stderr, { end: false })
    worker.on('error', () => {})
    worker.once('exit', (code, signal) => {
      members.delete(member)
      channel.close()
      merged.retire(worker.id)
      if (!isStopping) replace(member, signal ?? code)
    })
    return channel.ask('start', assignment, START_MS).catch((error) => {
      // it has no work: the next worker may start
      worker.process.kill('SIGKILL')
      throw error
    })
  }

  function replace({ worker, startedAt }: Member, cause: string | number): void {
    metrics.workerExits.inc()
    earlyExits = clock.steady() - startedAt < HEALTHY_MS ? earlyExits + 1 : 0
    const waitMs = earlyExits < 2 ? 0 : Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (earlyExits - 2))
    logger.error(
      { reason: 'worker_exit', pid: worker.process.pid, cause, retry_ms: waitMs },
      'a worker has ended: a new worker replaces it',
    )
    const timer = setTimeout(() => {
      waits.delete(timer)
      launch().catch((error: Error) => {
        logger.error({ reason: 'worker_start', cause: error.message }, 'a worker did not start')
      })
    }, waitMs)
    waits.add(timer)
  }

  const observer = createObserver({ config: config.log, clock, logger, metrics })
  const lastErrors = async () =>
    newestErrors([...(await askAll(({ channel }) => channel.ask('lastErrors', null, ASK_MS))).flat(), ...observer.lastErrors()])

  const history = createHealthHistory({
    clock,
    async read() {
      const readings = await askAll(async ({ worker, channel }) => [worker.id, await channel.ask('health', null, ASK_MS)] as const)
      return new Map(readings.flatMap(([id, reading]) => (reading ? [[id, reading]] : [])))
    },
  })

  async function metricsOfAll(): Promise<string> {
    await askAll(async (member) => {
      const metrics = await member.channel.ask('metrics', null, ASK_MS)
      if (members.has(member)) merged.hear(member.worker.id, metrics)
    })
    return merged.text()
  }

  const limits = hasListener ? createLimits(platform, config.server.replicas * workers) : null
  const consoleUnder = (platform: Platform, identity: Identity): FastifyInstance | null => {
    if (!limits) return null
    const access = createAccess(platform, identity, limits)
    const loginServices = createLoginServices({ platform, identity, access, limits })
    return createConsoleListener({ platform, identity, access, loginServices, observer, lastErrors, health: async () => history.report() })
  }
  const console = consoleUnder(platform, identity)

  const admin = createAdminServer({
    metrics: metricsOfAll,
    contentType: metrics.registry.contentType,
    // as ready as the readiest worker: only ready workers are given connections
    checks: async () => {
      const answers = await askAll(({ channel }) => channel.ask('checks', null, ASK_MS))
      const readiest = answers.sort((a, b) => countOk(b) - countOk(a))[0] ?? []
      return [{ name: `workers (${answers.length} of ${workers})`, ok: answers.length > 0, required: true }, ...readiest]
    },
    console: console && (() => console),
  })
  let stopJobs = async () => {}

  async function stop(): Promise<void> {
    isStopping = true
    for (const timer of waits) clearTimeout(timer)
    const left = [...members].map(async ({ worker, channel }) => {
      // `close` comes after the last lines of its output have been read
      const gone = once(worker.process, 'close')
      channel.ask('stop', null, graceMs(config)).catch(() => worker.process.kill('SIGKILL'))
      await gone
    })
    await Promise.all([...left, stopJobs()])
    await admin.close()
    await services.close()
  }

  try {
    await console?.ready()
    const adminPort = await listenAdmin(admin, config)
    await identity.prepare({ ...options.secrets, mustChangePassword: options.adminMustChangePassword })
    if (hasListener) await identity.revocations.start()
    stopJobs = schedule(
      [...services.jobs, ...(hasListener ? [keyringJob(services)] : []), ...(hasConsole(config) ? [history.job] : [])],
      logger,
    )
    const [port = 0] = await Promise.all(Array.from({ length: workers }, launch))
    return { port, adminPort, stop }
  } catch (error) {
    await stop().catch(() => undefined)
    throw error
  }
}

const countOk = (checks: { ok: boolean }[]): number => checks.filter(({ ok }) => ok).length

/** Divides among the workers the settings that count for the whole gateway. */
function shareOf(config: Config, workers: number): Config {
  const { server, database, auth } = config
  const share = (whole: number, atLeast = 1) => Math.max(atLeast, Math.ceil(whole / workers))
  const { argon2 } = auth.password
  return {
    ...config,
    server: { ...server, maxConnections: share(server.maxConnections) },
    // a transaction may need a second connection, because a lock is held on a connection of its own
    database: { ...database, poolSize: share(database.poolSize, 2) },
    auth: {
      ...auth,
      password: { ...auth.password, argon2: { ...argon2, concurrency: share(argon2.concurrency), queue: share(argon2.queue) } },
    },
  }
}
