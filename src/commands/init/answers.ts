/** The four questions of `init`: their words, their defaults, and what is wrong with an answer. */
import { isIP } from 'node:net'
import { isLoopback, portOf } from './addresses.ts'

export const RUNNERS = ['compose', 'systemd', 'none'] as const
export type Runner = (typeof RUNNERS)[number]

export const FRONTS = ['nginx', 'traefik', 'caddy', 'nothing'] as const
export type Front = (typeof FRONTS)[number]

export interface Answers {
  /** The origin of the API, as this machine reaches it. */
  upstream: string
  /** The origin under which people reach the gateway. */
  publicUrl: string
  run: Runner
  front: Front
}

/** An answer that cannot be used. The message says why, and what would be right. */
export class WrongAnswer extends Error {}

export interface Question<K extends keyof Answers> {
  key: K
  flag: string
  /** On a terminal, after `1/4 `. */
  text: string
  fallback: Answers[K]
  /** @throws WrongAnswer */
  read(answer: string, soFar: Partial<Answers>): Answers[K]
}

const upstream: Question<'upstream'> = {
  key: 'upstream',
  flag: '--upstream',
  text: 'Where is your API? Its address, as this machine reaches it',
  fallback: 'http://localhost:3000',
  read: (answer) => originOf(answer, 'http://localhost:3000'),
}

const publicUrl: Question<'publicUrl'> = {
  key: 'publicUrl',
  flag: '--public-url',
  text: 'Under which address will people reach it?',
  fallback: 'http://localhost:8080',
  read(answer, { upstream }) {
    const origin = originOf(answer, 'https://api.example.com')
    if (origin === upstream)
      throw new WrongAnswer(`${origin} is the address of your API. People reach the gateway under an address of its own`)
    const url = new URL(origin)
    if (upstream !== undefined && isLoopback(new URL(upstream).hostname) && portOf(new URL(upstream)) === portOf(url))
      throw new WrongAnswer(`your API has port ${portOf(url)} of this machine already. Give the gateway another port`)
    const { protocol, hostname } = url
    if (protocol === 'http:' && !isLoopback(hostname))
      throw new WrongAnswer(`over http everybody on the way can read passwords. Write https://${origin.slice('http://'.length)}`)
    return origin
  },
}

const run: Question<'run'> = {
  key: 'run',
  flag: '--run',
  text: 'How will it run? compose (Docker, with Postgres and Redis), systemd, or none (you start it yourself)',
  fallback: 'compose',
  read: (answer) => choiceOf(answer, RUNNERS),
}

const front: Question<'front'> = {
  key: 'front',
  flag: '--front',
  text: 'What stands in front of it? nginx, traefik, caddy, or nothing (then the gateway serves HTTPS itself)',
  fallback: 'nothing',
  read(answer, { publicUrl }) {
    const front = choiceOf(answer, FRONTS)
    if (front !== 'nothing' && publicUrl?.startsWith('http:'))
      throw new WrongAnswer(
        `${front} would serve https, and people are to reach the gateway under ${publicUrl}. Answer nothing, or begin again with an https address`,
      )
    return front
  },
}

export const QUESTIONS = [upstream, publicUrl, run, front] as const

function originOf(answer: string, example: string): string {
  if (!/^https?:\/\//i.test(answer)) throw new WrongAnswer(`an address begins with http:// or https://, such as ${example}`)
  if (!URL.canParse(answer)) throw new WrongAnswer(`this is no address. Write it like ${example}`)
  const url = new URL(answer)
  if (url.username || url.password) throw new WrongAnswer('an address here has no user and no password')
  if (url.pathname !== '/' || url.search || url.hash)
    throw new WrongAnswer(`only scheme, host and port are asked for here, without a path: ${url.origin}`)
  const host = url.hostname.replace(/^\[|\]$/g, '')
  if (isIP(host) === 0 && !/^[a-z0-9._-]+$/.test(host)) throw new WrongAnswer(`${host} is no name of a host`)
  if (url.port === '0') throw new WrongAnswer('nobody can reach port 0')
  return url.origin
}

function choiceOf<T extends string>(answer: string, choices: readonly T[]): T {
  const choice = choices.find((known) => known === answer.toLowerCase())
  if (choice === undefined) throw new WrongAnswer(`the choices are ${choices.slice(0, -1).join(', ')} and ${choices.at(-1)}`)
  return choice
}
