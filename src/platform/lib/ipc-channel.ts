/** Requests and answers between two processes over their IPC channel. */

/** The functions that one side answers with, by name. Questions and answers are cloned. */
export type Answers = Record<string, (question: never) => unknown>

/** The other process has ended or does not answer. */
export class Unanswered extends Error {}

export interface IpcChannel<Theirs extends Answers> {
  /** @throws the other side's error, or Unanswered: without an answer within `timeoutMs`, or when the other process has ended */
  ask<K extends keyof Theirs & string>(
    what: K,
    question: Parameters<Theirs[K]>[0],
    timeoutMs: number,
  ): Promise<Awaited<ReturnType<Theirs[K]>>>
  /** Sends without waiting for an answer. `onSent` is also called when the message could not be sent. */
  notify<K extends keyof Theirs & string>(what: K, question: Parameters<Theirs[K]>[0], onSent?: () => void): void
  /** Call it when the other process has ended: what is asked now and later fails at once. */
  close(): void
}

/** A ChildProcess, or a worker's own `process`. */
export interface Port {
  send?(message: unknown, callback: (error: Error | null) => void): unknown
  on(event: 'message', listener: (message: unknown) => void): unknown
}

type Message =
  | { kind: 'question'; id: number; what: string; question: unknown }
  | { kind: 'notice'; what: string; question: unknown }
  | { kind: 'answer'; id: number; value: unknown }
  | { kind: 'failure'; id: number; cause: string }

export function createIpcChannel<Theirs extends Answers>(port: Port, mine: Answers): IpcChannel<Theirs> {
  const pending = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>()
  let last = 0
  let isClosed = false
  /** Without a callback, Node would report a lost connection as an uncaught error. */
  const send = (message: Message, onSent: (error: Error | null) => void = () => {}) => {
    if (isClosed || !port.send) onSent(new Unanswered('the other process has ended'))
    else port.send(message, onSent)
  }

  port.on('message', (received) => {
    const message = received as Message
    if (message.kind === 'question') void answer(message)
    else if (message.kind === 'notice') void call(message).catch(() => {})
    else if (message.kind === 'answer') pending.get(message.id)?.resolve(message.value)
    else if (message.kind === 'failure') pending.get(message.id)?.reject(new Error(message.cause))
  })

  // both processes run the same version: the types of `ask` and `notify` have checked the name and the question
  const call = async ({ what, question }: { what: string; question: unknown }) => (mine[what] as (question: unknown) => unknown)(question)

  async function answer(message: Message & { kind: 'question' }): Promise<void> {
    const { id } = message
    try {
      send({ kind: 'answer', id, value: await call(message) })
    } catch (error) {
      send({ kind: 'failure', id, cause: error instanceof Error ? error.message : String(error) })
    }
  }

  return {
    ask(what, question, timeoutMs) {
      const id = ++last
      let timer: NodeJS.Timeout
      return new Promise<never>((resolve, reject) => {
        timer = setTimeout(() => reject(new Unanswered(`no answer to ${what} within ${timeoutMs} ms`)), timeoutMs)
        pending.set(id, { resolve: resolve as (value: unknown) => void, reject })
        send({ kind: 'question', id, what, question }, (error) => {
          if (error) reject(new Unanswered('the message could not be sent', { cause: error }))
        })
      }).finally(() => {
        clearTimeout(timer)
        pending.delete(id)
      })
    },
    notify(what, question, onSent = () => {}) {
      send({ kind: 'notice', what, question }, onSent)
    },
    close() {
      isClosed = true
      for (const { reject } of pending.values()) reject(new Unanswered('the other process has ended'))
    },
  }
}
