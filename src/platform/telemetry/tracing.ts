/** Decides which requests are recorded. The packages of OpenTelemetry are loaded only where spans are delivered. */
import type { TracingSettings } from '../config/tracing-variables.ts'
import type { TraceContext } from '../request/trace-context.ts'
import type { Logger } from './logger.ts'
import type { Metrics } from './metrics.ts'
import { newRecording, type Recording } from './recording.ts'

export interface Tracing {
  /**
   * Decides whether a request is recorded, and says so in its trace context.
   * @param isTrusted the sender of the trace context may decide it @param startedAt by the steady clock, in milliseconds
   * @returns null: it is not recorded
   */
  begin(trace: TraceContext, isTrusted: boolean, startedAt: number): Recording | null
  /** Delivers the spans that wait. Takes 2 seconds at most. */
  close(): Promise<void>
}

/** The decision of a trusted proxy goes on to the upstream, and nothing is recorded here. */
export const NO_TRACING: Tracing = { begin: () => null, close: async () => {} }

export interface TracingDeps {
  /** Null: off. */
  settings: TracingSettings | null
  /** The public host of the gateway. Clients may send any other. */
  host: string
  logger: Logger
  metrics: Pick<Metrics, 'spansExported' | 'spansDropped'>
}

export async function openTracing({ settings, host, logger, metrics }: TracingDeps): Promise<Tracing> {
  if (settings === null) return NO_TRACING
  const { openSpanExport } = await import('./span-export.ts')
  const { isChosen, deliver, close } = openSpanExport(settings, { logger, metrics })
  const followsParent = settings.sampler.startsWith('parentbased_')
  return {
    begin(trace, isTrusted, startedAt) {
      // a stranger may neither have its requests recorded nor keep them from being recorded
      const hasDecision = followsParent && isTrusted && trace.parentSpanId !== null
      if (!hasDecision) trace.isSampled = isChosen(trace.traceId)
      return trace.isSampled ? newRecording(trace, startedAt, { 'server.address': host }, deliver) : null
    },
    close,
  }
}
