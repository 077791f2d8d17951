/** A list of named stages whose order the compiler checks: a stage may follow only the stages that learn its needs. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { beginSpan, endSpan, type Recording, runInSpan } from '../platform/telemetry/recording.ts'
import type { Exchange } from './routing/exchange.ts'

/** One request on its way through the stages. */
export interface Call {
  request: FastifyRequest
  reply: FastifyReply
  /** For a stage that has answered, or will answer, and fails later. */
  fail(error: Error): void
}

/** Returned by a stage that has answered, or will answer: no stage follows. */
export const ANSWERED = Symbol('answered')
export type Answered = typeof ANSWERED

type MaybePromise<T> = T | Promise<T>

/** A stage refuses by throwing a Problem. Only a promise is awaited: with warm caches a request passes without any. */
export interface Stages<Start extends Exchange, Known extends Start> {
  /** A stage that lets the request pass or refuses it. */
  check(name: string, run: (exchange: Known, call: Call) => MaybePromise<void>): Stages<Start, Known>
  /** A stage that answers some requests itself. */
  answer(name: string, run: (exchange: Known, call: Call) => Answered | undefined): Stages<Start, Known>
  /** A stage that learns something: it returns the same exchange under the narrower type. */
  learn<Next extends Known>(name: string, run: (exchange: Known, call: Call) => MaybePromise<Next>): Stages<Start, Next>
  names: readonly string[]
  /** @returns ANSWERED, or a promise while a stage waits; any other value: every stage has passed */
  pass(exchange: Start, call: Call): unknown
}

type Run<Start> = (exchange: Start, call: Call) => unknown

export const stagesFrom = <Start extends Exchange>(): Stages<Start, Start> => stagesOf([], [])

function stagesOf<Start extends Exchange, Known extends Start>(
  names: readonly string[],
  runs: readonly Run<Start>[],
): Stages<Start, Known> {
  /** By its turn the exchange is what `run` asks for: the stages before it have seen to that. */
  const added = <Next extends Start>(name: string, run: Run<Known>) => stagesOf<Start, Next>([...names, name], [...runs, run as Run<Start>])

  function passFrom(first: number, exchange: Start, call: Call): unknown {
    for (let i = first; i < runs.length; i++) {
      const result = runs[i]!(exchange, call)
      if (result === ANSWERED) return result
      if (result instanceof Promise) return result.then(() => passFrom(i + 1, exchange, call))
    }
    return undefined
  }

  /** The same, with a span for each stage. The span of a stage that answers ends with the request. */
  function passRecorded(first: number, exchange: Start, call: Call, recording: Recording): unknown {
    for (let i = first; i < runs.length; i++) {
      const span = beginSpan(recording, names[i]!, 'internal', recording.server)
      recording.stage = span
      const refuse = (error: unknown): never => {
        endSpan(span, error)
        throw error
      }
      let result: unknown
      try {
        result = runInSpan(recording, span, () => runs[i]!(exchange, call))
      } catch (error) {
        return refuse(error)
      }
      if (result === ANSWERED) return result
      if (result instanceof Promise)
        return result.then(() => {
          endSpan(span)
          return passRecorded(i + 1, exchange, call, recording)
        }, refuse)
      endSpan(span)
    }
    return undefined
  }

  return {
    check: (name, run) => added<Known>(name, run),
    answer: (name, run) => added<Known>(name, run),
    learn: (name, run) => added(name, run),
    names,
    pass: (exchange, call) => (exchange.recording ? passRecorded(0, exchange, call, exchange.recording) : passFrom(0, exchange, call)),
  }
}
