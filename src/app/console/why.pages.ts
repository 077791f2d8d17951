/** "Why may X reach Y": asks the stages of the pipeline about a request that no client sent. */
import { isIP } from 'node:net'
import { type Html, html } from '../../identity/pages/html.ts'
import { type Fields, field, messageOf, type Page } from '../../identity/pages/page-kit.ts'
import type { User } from '../../identity/users/users.repo.ts'
import type { Config } from '../../platform/config/schema.ts'
import { type FieldCode, type FieldError, Problem } from '../../platform/lib/errors.ts'
import { ANONYMOUS, type Caller, createCallers, roleFault } from '../../proxy/policy/callers.ts'
import { createExplain, type Explanation, type StageFinding, type StageResult } from '../../proxy/policy/explain.ts'
import { candidateText, stageText } from '../../proxy/policy/stage-text.ts'
import { isProxied } from '../../proxy/routing/proxied-methods.ts'
import { badge, facts, select } from './elements.ts'
import { nameOf } from './guard.ts'
import type { ConsoleParts, ConsoleSection } from './section.ts'

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']
const WHO = ['anonymous', 'roles', 'user'] as const
const MAX_URL = 2048
const MAX_NAMES = 512

export const whySection = (parts: ConsoleParts): ConsoleSection => ({
  path: '/why',
  text: 'console.why',
  pages(app, kit) {
    const { base, config, clock, data } = parts
    const explain = createExplain({ config, data, now: () => clock.now() })
    const readCaller = callerReader(parts)
    kit.define(app, {
      path: '/why',
      name: 'console.why',
      for: 'user',
      async show(page) {
        const { text, query } = page
        const path = `${base}/why`
        if (query.url === undefined) return { title: text('why.title'), body: form(page, path, []) }
        const errors = mistakesIn(query, config)
        const asked = errors.length > 0 ? null : await readCaller(query).catch((error) => onField(error, errors))
        if (!asked) return { title: text('why.title'), status: 422, body: form(page, path, errors) }
        const explanation = explain({
          method: query.method ?? 'GET',
          url: query.url.trim(),
          caller: asked.caller,
          address: query.address?.trim() || null,
          isWebSocket: query.websocket === 'on',
        })
        return { title: text('why.title'), body: html`${form(page, path, [])}${answer(page, explanation, asked.user)}` }
      },
    })
  },
})

interface Asked {
  caller: Caller
  /** Null: the question names no user. */
  user: User | null
}

/** @returns reads who asks. @throws not_found for an unknown user */
function callerReader({ config, clock, administration }: ConsoleParts): (query: Fields) => Promise<Asked> {
  const callers = createCallers(config)
  return async ({ who, roles = '', user = '', factor, minutes }) => {
    const how = { hasFactor: factor === 'with', authenticatedAt: clock.now() / 1000 - Number(minutes || 0) * 60 }
    if (who === 'roles') return { caller: callers.of({ roles: namesIn(roles), ...how }), user: null }
    if (who !== 'user') return { caller: ANONYMOUS, user: null }
    const found = await administration.find(user.trim())
    return { caller: callers.ofUser(found, how), user: found }
  }
}

const namesIn = (roles: string): string[] => roles.split(/[\s,]+/).filter(Boolean)

function mistakesIn({ method, url, who, user, roles = '', minutes, address }: Fields, config: Config): FieldError[] {
  const refused = (name: string, code: FieldCode, isRefused: boolean): FieldError[] =>
    isRefused ? [{ field: name, code, detail: code }] : []
  return [
    ...refused('url', 'required', (url ?? '').trim() === ''),
    ...refused('url', 'too_long', (url ?? '').length > MAX_URL),
    ...refused('method', 'unknown', method !== undefined && !isProxied(method)),
    ...refused('user', 'required', who === 'user' && !user?.trim()),
    ...refused('user', 'format', who === 'user' && (user ?? '').includes('\0')),
    ...refused('user', 'too_long', (user ?? '').length > MAX_NAMES),
    ...refused('roles', 'too_long', roles.length > MAX_NAMES),
    ...refused('roles', 'unknown', who === 'roles' && namesIn(roles).some((role) => roleFault(config, role) !== null)),
    ...refused('minutes', 'format', !/^\d{0,6}$/.test(minutes ?? '')),
    ...refused('address', 'format', (address ?? '').trim() !== '' && isIP(address!.trim()) === 0),
  ]
}

function onField(error: unknown, errors: FieldError[]): null {
  if (!(error instanceof Problem && error.code === 'not_found')) throw error
  errors.push({ field: 'user', code: 'unknown', detail: 'is not known' })
  return null
}

function form(page: Page, path: string, errors: readonly FieldError[]): Html {
  const { text, query } = page
  const typed: Page = { ...page, form: { typed: query, errors, problem: null } }
  const optional = { autocomplete: 'off', isOptional: true } as const
  return html`<p class="lead">${text('why.what')}</p>
<form class="filters level" method="get" action="${path}">
${select(
  'method',
  text('why.method'),
  METHODS.map((value) => ({ value, text: value })),
  query.method ?? 'GET',
)}
<div class="wide-field">${field(typed, { name: 'url', label: 'why.url', autocomplete: 'off', hint: text('why.url-hint') })}</div>
${select(
  'who',
  text('why.who'),
  WHO.map((value) => ({ value, text: text(`why.who-${value}`) })),
  query.who ?? 'anonymous',
)}
<div>${field(typed, { name: 'user', label: 'why.user', ...optional })}</div>
<div>${field(typed, { name: 'roles', label: 'console.roles', ...optional })}</div>
${select(
  'factor',
  text('console.factor'),
  (['without', 'with'] as const).map((value) => ({ value, text: text(`why.factor-${value}`) })),
  query.factor ?? 'without',
)}
<div>${field(typed, { name: 'minutes', label: 'why.minutes', inputmode: 'numeric', ...optional })}</div>
<div>${field(typed, { name: 'address', label: 'console.address', ...optional })}</div>
<div class="actions"><label class="check"><input type="checkbox" name="websocket"${query.websocket === 'on' && html` checked`}> ${text('why.websocket')}</label></div>
<div class="actions"><button class="small">${text('why.ask')}</button> <a class="button quiet small" href="${path}">${text('console.filter-clear')}</a></div>
</form>`
}

const answer = (page: Page, { decision, route, refusal, stages, candidates, effects }: Explanation, user: User | null): Html => {
  const { text, language } = page
  const isGood = decision === 'admitted'
  return html`<section aria-labelledby="answer"><h2 id="answer">${text('why.answer')}</h2>
<p class="notice${decision === 'refused' && ' bad'}" role="status"><strong>${text(`why.${decision}`)}</strong>${
    refusal && html` ${String(refusal.status)} <code>${refusal.code}</code>: ${messageOf(refusal, page.language)}`
  }${isGood && html` ${text('why.admitted-limits')}`}</p>
${facts([
  [text('console.user'), user && `${nameOf(user)} (${[...user.roles].join(', ')})`],
  [text('errors.route'), route && html`<code>${route.name}</code>`],
  [text('routes.access'), route?.access.label],
  [text('why.limits'), effects && (effects.limits.map((limit) => `${limit.name}: ${limit.text}`).join(', ') || null)],
  [text('why.upstream-path'), effects && html`<code>${effects.upstreamPath}</code>`],
  [
    text('why.deadlines'),
    effects &&
      Object.entries(effects.deadlines)
        .map(([name, ms]) => `${name} ${ms}`)
        .join(', '),
  ],
  [text('why.headers'), effects?.requestHeaders.map(([name, value]) => html`<code>${name}: ${value}</code><br>`)],
])}
${
  candidates.length > 0 &&
  html`<h3>${text('why.routes')}</h3>
<ol class="routes">${candidates.map((candidate) => html`<li><code>${candidate.route.name}</code> ${candidateText(language, candidate)}</li>`)}</ol>`
}
<ol class="stages">${stages.filter(({ result }) => result !== 'unused').map((stage) => stageOf(page, stage))}</ol></section>`
}

const SIGNS: Record<StageResult, string> = { passed: '✓', refused: '✕', answered: '■', open: '?', unused: '·', unreached: '·' }
const KINDS: Record<StageResult, 'good' | 'bad' | 'plain'> = {
  passed: 'good',
  refused: 'bad',
  answered: 'plain',
  open: 'plain',
  unused: 'plain',
  unreached: 'plain',
}

function stageOf({ text, language }: Page, finding: StageFinding): Html {
  const { stage, result } = finding
  const name = language.find(`why.stage.${stage}`) ?? stage
  return html`<li class="${result}"><span class="sign" aria-hidden="true">${SIGNS[result]}</span><div><strong>${name}</strong> ${badge(
    text(`why.result.${result}`),
    KINDS[result],
  )}<br><span class="soft">${stageText(language, finding)}</span></div></li>`
}
