/** Ctrl-C ends the measurement, and everything that was started is removed as after a complete run. */
const controller = new AbortController()
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => controller.abort())

export const interrupted = controller.signal
