/** The entry point of a worker process: it runs the public listener with the configuration that the supervisor sends. */
import cluster from 'node:cluster'
import closeWithGrace from 'close-with-grace'
import { writeCompiledCode } from '../platform/lib/compile-cache.ts'
import { createIpcChannel } from '../platform/lib/ipc-channel.ts'
import { createLogOutput } from '../platform/telemetry/log-output.ts'
import { createLogger, flushLogger } from '../platform/telemetry/logger.ts'
import { type App, buildApp } from './app.ts'
import { readHealth } from './console/health-reading.ts'
import { graceMs, listen, logUncaught } from './listen.ts'
import { BEAT_MS } from './pulse.ts'
import type { PreparedReload } from './reload.ts'
import { ASK_MS, type Assignment, HASH_PERMIT_MS, SILENT_ASK_MS, type SupervisorAnswers, type WorkerAnswers } from './worker-protocol.ts'

let app: App | undefined
let prepared: PreparedReload | null = null
let stop = async (): Promise<void> => process.exit(0)
const heard: ((message: string) => void)[] = []

const answers: WorkerAnswers = {
  async start({ config, secrets, tracing, workers, sharesHashing }: Assignment) {
    // here it holds up no timer and no request
    writeCompiledCode()
    const output = createLogOutput()
    const logger = createLogger(config.log.level, output)
    const siblings = {
      // the supervisor waits SILENT_ASK_MS for the other workers
      publish: (message: string) => supervisor.ask('revoke', message, 2 * SILENT_ASK_MS).catch(() => undefined),
      subscribe: async (handler: (message: string) => void) => void heard.push(handler),
      // the supervisor itself waits ASK_MS for each sibling
      revocations: () => supervisor.ask('revocations', null, 2 * ASK_MS).catch(() => null),
      lastErrors: () => supervisor.ask('lastErrors', null, 2 * ASK_MS),
      health: () => supervisor.ask('health', null, ASK_MS),
      // without an answer the worker logs: a notice twice is better than none
      isFirstNotice: (reason: string) => supervisor.ask('isFirstNotice', reason, ASK_MS).catch(() => true),
    }
    app = await buildApp({
      config,
      secrets,
      tracing,
      logger,
      team: { workers, siblings, hashPermit: sharesHashing ? hashPermit : undefined },
    })
    const running = app
    output.onDropped((lines) => running.platform.metrics.logLinesDropped.inc(lines))
    const grace = closeWithGrace({ delay: graceMs(config), logger: false, skip: ['SIGINT', 'SIGHUP'] }, async ({ err }) => {
      if (err) logUncaught(err, logger)
      await running.stop()
      await flushLogger(logger)
    })
    stop = async () => grace.close()
    await running.start()
    return listen(running, config)
  },
  metrics: async () => app?.platform.metrics.registry.getMetricsAsJSON() ?? [],
  health: async () => (app ? readHealth(app.platform.metrics) : null),
  checks: () => app?.checks() ?? [{ name: 'listening', ok: false, required: true }],
  lastErrors: () => app?.lastErrors() ?? [],
  revoke(message) {
    for (const handler of heard) handler(message)
  },
  revocations: () => app?.identity.revocations.dump() ?? null,
  async prepareReload(config) {
    if (!app) throw new Error('the worker has not started')
    // of a reload that the supervisor has given up
    prepared?.cancel()
    prepared = null
    prepared = await app.prepareReload(config)
  },
  commitReload() {
    void prepared!.commit()
    prepared = null
  },
  cancelReload() {
    prepared?.cancel()
    prepared = null
  },
  stop: () => stop(),
}
const supervisor = createIpcChannel<SupervisorAnswers>(process, answers)

async function hashPermit(): Promise<() => void> {
  // a supervisor that does not answer must not keep users from logging in
  await supervisor.ask('takeHashPermit', null, HASH_PERMIT_MS).catch(() => undefined)
  return () => supervisor.notify('giveHashPermit', null)
}

let isSending = false
setInterval(() => {
  // signs of life do not pile up before a supervisor that does not read them
  if (isSending) return
  isSending = true
  supervisor.notify('beat', null, () => {
    isSending = false
  })
}, BEAT_MS).unref()

// a terminal sends SIGINT to the whole process group; the supervisor sends `stop` when it is time
process.on('SIGINT', () => {})
// the supervisor reads the configuration
process.on('SIGHUP', () => {})
// without a supervisor the worker could be neither replaced nor stopped, so it ends; this flag keeps Node from ending it at once
cluster.worker!.exitedAfterDisconnect = true
process.on('disconnect', () => void stop())
