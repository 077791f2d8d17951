/** Ctrl-C ends what is being measured, and everything that was started is taken away as it is after a good run. */
const controller = new AbortController()
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => controller.abort())

export const interrupted = controller.signal
