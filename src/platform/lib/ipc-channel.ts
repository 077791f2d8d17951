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
  /** Call it when the other process has ended. */
  close(): void
}

/** A ChildProcess, or a worker's own `process`. */
export interface Port {
  send?(message: unknown, callback: (error: Error | null) => void): unknown
  on(event: 'message', listener: (message: unknown) => void): unknown
}

type Message =
  | { kind: 'question'; id: number; what: string; question: unknown }
  | { kind: 'answer'; id: number; value: unknown }
  | { kind: 'failure'; id: number; cause: string }

export function createIpcChannel<Theirs extends Answers>(port: Port, mine: Answers): IpcChannel<Theirs> {
  const pending = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>()
  let last = 0
  const send = (message: Message) =>
    port.send?.(message, (error) => {
      if (error) pending.get(message.id)?.reject(new Unanswered('the message could not be sent', { cause: error }))
    })

  port.on('message', (received) => {
    const message = received as Message
    if (message.kind === 'question') void answer(message)
    else if (message.kind === 'answer') pending.get(message.id)?.resolve(message.value)
    else if (message.kind === 'failure') pending.get(message.id)?.reject(new Error(message.cause))
  })

  async function answer({ id, what, question }: Message & { kind: 'question' }): Promise<void> {
    // both processes run the same version: the types of `ask` have checked the name and the question
    const answerOf = mine[what] as (question: unknown) => unknown
    try {
      send({ kind: 'answer', id, value: await answerOf(question) })
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
        send({ kind: 'question', id, what, question })
      }).finally(() => {
        clearTimeout(timer)
        pending.delete(id)
      })
    },
    close() {
      for (const { reject } of pending.values()) reject(new Unanswered('the other process has ended'))
    },
  }
}
