/** Questions and answers between two processes, over the IPC channel that they share. */

/** What either side answers, by name. All that passes is cloned. */
export type Answers = Record<string, (question: never) => unknown>

/** The other side is gone, or does not answer. */
export class Unanswered extends Error {}

export interface IpcChannel<Theirs extends Answers> {
  /** Rejects as the other side does, or with Unanswered; that also when it takes longer than this. */
  ask<K extends keyof Theirs & string>(
    what: K,
    question: Parameters<Theirs[K]>[0],
    timeoutMs: number,
  ): Promise<Awaited<ReturnType<Theirs[K]>>>
  /** The other side is gone. */
  close(): void
}

/** A ChildProcess, or the process of a worker itself. */
export interface Port {
  send?(message: unknown, callback: (error: Error | null) => void): unknown
  on(event: 'message', listener: (message: unknown) => void): unknown
}

type Message =
  | { kind: 'question'; id: number; what: string; question: unknown }
  | { kind: 'answer'; id: number; value: unknown }
  | { kind: 'failure'; id: number; cause: string }

export function createIpcChannel<Theirs extends Answers>(port: Port, mine: Answers): IpcChannel<Theirs> {
  const asked = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>()
  let last = 0
  const send = (message: Message) =>
    port.send?.(message, (error) => {
      if (error) asked.get(message.id)?.reject(new Unanswered('not sent', { cause: error }))
    })

  port.on('message', (received) => {
    const message = received as Message
    if (message.kind === 'question') void answer(message)
    else if (message.kind === 'answer') asked.get(message.id)?.resolve(message.value)
    else if (message.kind === 'failure') asked.get(message.id)?.reject(new Error(message.cause))
  })

  async function answer({ id, what, question }: Message & { kind: 'question' }): Promise<void> {
    // both sides are of one version: `ask` has checked what is asked and with which question
    const answering = mine[what] as (question: unknown) => unknown
    try {
      send({ kind: 'answer', id, value: await answering(question) })
    } catch (error) {
      send({ kind: 'failure', id, cause: error instanceof Error ? error.message : String(error) })
    }
  }

  return {
    ask(what, question, timeoutMs) {
      const id = ++last
      let late: NodeJS.Timeout
      return new Promise<never>((resolve, reject) => {
        late = setTimeout(() => reject(new Unanswered(`no answer to ${what} within ${timeoutMs} ms`)), timeoutMs)
        asked.set(id, { resolve: resolve as (value: unknown) => void, reject })
        send({ kind: 'question', id, what, question })
      }).finally(() => {
        clearTimeout(late)
        asked.delete(id)
      })
    },
    close() {
      for (const { reject } of asked.values()) reject(new Unanswered('the other side is gone'))
    },
  }
}
