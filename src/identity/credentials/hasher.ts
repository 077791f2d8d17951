/**
 * Hashes passwords with Argon2id (RFC 9106) in a child process of the lowest priority. In this process, hashing would compete with the
 * event loop, and would occupy the threads that resolve names and verify tokens: a burst of logins would slow every proxied request.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { unavailable } from '../../platform/lib/errors.ts'
import { createIpcChannel, type IpcChannel, Unanswered } from '../../platform/lib/ipc-channel.ts'
import type { HasherAnswers } from './hasher.process.ts'

export interface Argon2Parameters {
  memoryKiB: number
  passes: number
}

export interface Hasher {
  hash(password: string): Promise<string>
  verify(hash: string, password: string): Promise<boolean>
  close(): void
}

interface Helper {
  child: ChildProcess
  channel: IpcChannel<HasherAnswers>
}

/** No hash takes this long, so the child process must have stopped. */
const HASH_MS = 30_000
/** Environment variables that the child process does not get. */
const SECRETS = /^(PORTCULLIS_|DATABASE_URL|REDIS_URL|OTEL_)/

/** The child process starts at the first hash, and again after it has ended. @param threads that hash at the same time */
export function createHasher({ memoryKiB, passes }: Argon2Parameters, threads: number): Hasher {
  let helper: Helper | null = null

  function start(): Helper {
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !SECRETS.test(name)))
    const child = fork(fileURLToPath(new URL(`./hasher.process${extname(import.meta.url)}`, import.meta.url)), [], {
      env: { ...env, UV_THREADPOOL_SIZE: String(threads) },
      execArgv: [],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    // the child does not keep this process alive: a waiting hash has a timer that does
    child.unref()
    child.channel?.unref()
    const started = { child, channel: createIpcChannel<HasherAnswers>(child, {}) }
    const gone = () => {
      started.channel.close()
      if (helper === started) helper = null
    }
    child.on('error', gone).on('exit', gone)
    return started
  }

  async function ask<K extends keyof HasherAnswers & string>(
    what: K,
    question: Parameters<HasherAnswers[K]>[0],
  ): Promise<Awaited<ReturnType<HasherAnswers[K]>>> {
    helper ??= start()
    try {
      return await helper.channel.ask(what, question, HASH_MS)
    } catch (error) {
      throw error instanceof Unanswered ? unavailable(error) : error
    }
  }

  return {
    hash: (password) => ask('hash', { password, memoryKiB, passes }),
    verify: (hash, password) => ask('verify', { hash, password }),
    close() {
      helper?.child.disconnect()
      helper = null
    },
  }
}
