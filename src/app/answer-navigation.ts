/**
 * Answers a person with a browser when a request is refused: a redirect to the page that helps, or a small page. Programs get the problem
 * document of error-handler.ts.
 */
import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { pageCookieName } from '../identity/access/page-cookie-names.ts'
import { type Html, html } from '../identity/pages/html.ts'
import { languageOf } from '../identity/pages/language.ts'
import type { View } from '../identity/pages/layout.ts'
import { PAGE_HEADERS } from '../identity/pages/page-kit.ts'
import { cookieValues } from '../platform/http/cookies.ts'
import type { Clock } from '../platform/lib/clock.ts'
import type { ErrorCode, Problem } from '../platform/lib/errors.ts'
import { waitText } from '../platform/texts/durations.ts'
import type { TextKey } from '../platform/texts/en.ts'
import type { Language } from '../platform/texts/texts.ts'
import type { Exchange } from '../proxy/routing/exchange.ts'
import type { PageFrame } from './page-frame.ts'
import { kindOf, type RequestKind } from './request-kind.ts'

export interface NavigationAnswer {
  status: number
  /** Names in lower case. They replace other fields of the same name. */
  headers: Record<string, string>
  /** Fields that the answer must not have. */
  without: readonly string[]
  body: string
}

/** @returns null for a program: the caller answers with a problem document */
export type AnswerNavigation = (
  known: Problem,
  request: IncomingMessage,
  exchange: Exchange,
) => NavigationAnswer | Promise<NavigationAnswer> | null

export interface AnswerNavigationDeps {
  frame: Pick<PageFrame, 'base' | 'texts' | 'layout' | 'crossSite' | 'returnTo'>
  clock: Pick<Clock, 'now'>
  /** `auth.browser.origins`: their pages may show our answer in a frame. */
  origins: readonly string[]
  /** Whether the user has a second factor, used in this session or not. */
  hasFactor(userId: string): Promise<boolean>
}

/** What a user must do first. */
type Step = 'login' | 'again' | 'factor' | 'password'

const STEPS: Partial<Record<ErrorCode, Step>> = {
  token_missing: 'login',
  token_invalid: 'login',
  token_expired: 'login',
  token_revoked: 'login',
  reauthentication_required: 'again',
  mfa_required: 'factor',
  password_change_required: 'password',
}

/** The answer depends on the kind of request, on cookies and on the language. */
const VARY = 'Accept, Accept-Language, Cookie, Sec-Fetch-Dest, Sec-Fetch-Mode'

const STEP_COOKIE = pageCookieName('step', false)
const STEP_SECONDS = 60

/** An attribute of a cookie cannot hold every path. */
const COOKIE_PATH = /^\/[A-Za-z0-9\-._~%/]*$/

export function createAnswerNavigation({ frame, clock, origins, hasFactor }: AnswerNavigationDeps): AnswerNavigation {
  const { base, texts, layout, crossSite, returnTo } = frame
  const framed = PAGE_HEADERS['content-security-policy'].replace(
    "frame-ancestors 'none'",
    `frame-ancestors ${["'self'", ...origins].join(' ')}`,
  )

  async function pageFor(step: Step, userId: string | undefined): Promise<string> {
    if (step === 'password') return `${base}/account/password`
    // a login with the factor helps only a user who has a factor
    if (step === 'factor' && userId !== undefined && !(await hasFactor(userId))) return `${base}/account/factors`
    return `${base}/login`
  }

  /** Where the user was going. A form cannot be sent again, and a frame is a part of a page: both lead back to the page that has them. */
  function goal(request: IncomingMessage, { client }: Exchange, kind: RequestKind): string | null {
    const { referer } = request.headers
    const page = { request: { raw: request }, client }
    if (kind === 'form') return returnTo.of(page, referer)
    return (kind === 'frame' ? returnTo.of(page, referer) : null) ?? returnTo.of(page, request.url)
  }

  function show(view: View, known: Problem, kind: RequestKind, language: Language): NavigationAnswer {
    const isFramed = kind === 'frame'
    const { 'x-frame-options': frameOptions, ...headers } = PAGE_HEADERS
    return {
      status: known.status,
      headers: {
        ...headers,
        ...(isFramed ? { 'content-security-policy': framed } : { 'x-frame-options': frameOptions }),
        vary: VARY,
        'content-type': 'text/html; charset=utf-8',
      },
      without: isFramed ? ['x-frame-options'] : [],
      body: layout({ ...view, isFramed }, language),
    }
  }

  async function answerStep(
    step: Step,
    known: Problem,
    request: IncomingMessage,
    exchange: Exchange,
    kind: RequestKind,
  ): Promise<NavigationAnswer> {
    const to = returnTo.to(await pageFor(step, exchange.principal?.id), goal(request, exchange, kind))
    const isRepeated = kind === 'navigation' && wasSeen(request, known.code, clock.now())
    if (kind === 'navigation' && !isRepeated) {
      const isPrefetch = /prefetch/.test(String(request.headers['sec-purpose'] ?? ''))
      const cookie = stepCookie(request, known.code, clock.now(), crossSite.isSecure(exchange.client))
      return {
        status: 303,
        headers: { location: to, vary: VARY, 'referrer-policy': 'same-origin', ...(!isPrefetch && { 'set-cookie': cookie }) },
        without: ['www-authenticate', 'retry-after'],
        body: '',
      }
    }
    const language = languageOf(request.headers, texts)
    return show(stepView(step, to, kind, isRepeated, exchange, language), known, kind, language)
  }

  return (known, request, exchange) => {
    const kind = kindOf(request, exchange.isUpgrade)
    if (kind === 'program') return null
    const step = STEPS[known.code]
    if (step) return answerStep(step, known, request, exchange, kind)
    const language = languageOf(request.headers, texts)
    return show(errorView(known, kind, exchange, language, base), known, kind, language)
  }
}

function stepView(step: Step, to: string, kind: RequestKind, isRepeated: boolean, exchange: Exchange, language: Language): View {
  const { text } = language
  return {
    title: text(`step.${step}.title`),
    isLoggedIn: isLoggedIn(exchange),
    body: html`<p>${text(`step.${step}`)}</p>
${kind === 'form' && html`<p>${text('step.form')}</p>`}
${isRepeated && html`<p>${text('step.repeated')}</p>`}
<p><a class="button" href="${to}" target="_top">${text(`step.${step}.link`)}</a></p>
${requestId(exchange, language)}`,
  }
}

/** Refusals of a sign-in with a provider: each has a sentence of its own, and leads to the other ways in. */
const SIGN_IN: ReadonlySet<ErrorCode> = new Set([
  'flow_invalid',
  'provider_refused',
  'provider_unavailable',
  'already_linked',
  'email_unproven',
  'email_taken',
  'invitation_invalid',
  'registration_closed',
])

/** Statuses with a sentence of their own. */
const STATUSES = new Set([403, 404, 429, 500, 502, 503, 504])

function errorView(known: Problem, kind: RequestKind, exchange: Exchange, language: Language, base: string): View {
  const { text } = language
  const about = STATUSES.has(known.status) ? (`problem.${known.status}` as 'problem.404') : 'problem.other'
  // some refusals have a sentence that helps more than the sentence of their status
  const isSignIn = SIGN_IN.has(known.code)
  const isSpecial = isSignIn || (known.status === 403 && known.code !== 'forbidden')
  const sentence = (isSpecial ? language.find(`error.${known.code}`) : null) ?? text(about)
  const wait = Number(known.headers['retry-after'])
  const isTemporary = known.status === 429 || known.status >= 502
  return {
    title: text(`${about}.title` as TextKey),
    isLoggedIn: isLoggedIn(exchange),
    body: html`<p>${sentence}</p>
${wait > 0 && html`<p>${text('problem.retry', { when: waitText(wait, language) })}</p>`}
${isSignIn && html`<p><a class="button" href="${base}/login">${text('provider.other-ways')}</a></p>`}
${isTemporary && !isSignIn && kind !== 'form' && html`<p><a class="button" href="">${text('problem.again')}</a></p>`}
${requestId(exchange, language)}`,
  }
}

const isLoggedIn = ({ principal }: Exchange): boolean => principal?.kind === 'user'

const requestId = (exchange: Exchange, { text }: Language): Html =>
  html`<p class="hint">${text('page.request-id', { id: exchange.requestId })}</p>`

/** The same request, refused for the same reason. */
const stepHash = ({ url }: IncomingMessage, code: ErrorCode): string =>
  createHash('sha256').update(`${code} ${url}`).digest('base64url').slice(0, 16)

/** Holds when the user was sent to a page, and for what. It is no secret, and a false cookie leads to a page in place of a redirect. */
function stepCookie(request: IncomingMessage, code: ErrorCode, now: number, isSecure: boolean): string {
  const path = request.url!.split('?')[0]!
  const value = `${Math.floor(now / 1000)}.${stepHash(request, code)}`
  return `${STEP_COOKIE}=${value}; Path=${COOKIE_PATH.test(path) ? path : '/'}; Max-Age=${STEP_SECONDS}; HttpOnly; SameSite=Lax${isSecure ? '; Secure' : ''}`
}

function wasSeen(request: IncomingMessage, code: ErrorCode, now: number): boolean {
  const hash = stepHash(request, code)
  return cookieValues(request.headers.cookie, STEP_COOKIE).some((value) => {
    const [at, seen] = value.split('.')
    return seen === hash && Math.abs(now / 1000 - Number(at)) <= STEP_SECONDS
  })
}
