/** An explanation as JSON, for `policy explain --json` and for the endpoint. */
import { type Static, Type } from 'typebox'
import { createTexts } from '../../platform/texts/texts.ts'
import type { Caller } from './callers.ts'
import type { Effects, HeaderField } from './effects.ts'
import type { Explanation, Question } from './explain.ts'
import { candidateText, stageText } from './stage-text.ts'

const Text = Type.String()
const TextOrNull = Type.Union([Type.String(), Type.Null()])
const Texts = Type.Array(Text)
const Headers = Type.Array(Type.Object({ name: Text, value: Text }))

export const ExplanationSchema = Type.Object({
  decision: Type.String({
    description: 'allow, refuse, answer: the gateway answers itself, or own: an endpoint of the gateway decides.',
  }),
  depends: Type.Boolean({ description: 'True when the answer depends on the address of the client, which was not given.' }),
  status: Type.Union([Type.Integer(), Type.Null()], {
    description: 'What the client would get. Null where the upstream or an endpoint decides.',
  }),
  code: TextOrNull,
  detail: TextOrNull,
  request: Type.Object({ method: Text, url: Text, from: TextOrNull, websocket: Type.Boolean() }),
  principal: Type.Union([
    Type.Null(),
    Type.Object({ kind: Text, id: Text, roles: Texts, scopes: Texts, second_factor: Type.Boolean(), authenticated_at: Type.Integer() }),
  ]),
  route: TextOrNull,
  rule: Type.Object({ stage: Text, text: Text }),
  candidates: Type.Array(
    Type.Object({ route: Text, host: TextOrNull, path: Text, methods: Type.Union([Texts, Type.Null()]), result: Text, text: Text }),
  ),
  stages: Type.Array(Type.Object({ stage: Text, result: Text, text: Text })),
  effects: Type.Union([
    Type.Null(),
    Type.Object({
      limits: Type.Array(Type.Object({ name: Text, limit: Type.Integer(), window_seconds: Type.Integer(), key: Text, text: Text })),
      on_redis_down: Text,
      upstreams: Type.Array(Type.Object({ origin: Text, weight: Type.Number() })),
      balance: Text,
      upstream_path: Text,
      request_headers: Headers,
      request_headers_removed: Texts,
      response_headers: Headers,
      response_headers_removed: Texts,
      deadlines: Type.Union([
        Type.Object({ connect_ms: Type.Integer(), headers_ms: Type.Integer(), idle_ms: Type.Integer(), total_ms: Type.Integer() }),
        Type.Null(),
      ]),
      max_body_bytes: Type.Union([Type.Integer(), Type.Null()]),
      cors: Text,
      session_cookie: Text,
    }),
  ]),
})
export type ExplanationView = Static<typeof ExplanationSchema>

const DECISIONS = { admitted: 'allow', refused: 'refuse', answered: 'answer', own: 'own' } as const

/** The texts of the view are English, whatever languages the pages have. */
const ENGLISH = createTexts(['en']).of('en')

/** What the gateway itself answers when it does not refuse. */
const ANSWERS: Record<string, number> = { 'https-redirect': 308, 'root-page': 200 }

export function explanationView(
  explanation: Explanation,
  { address, isWebSocket, caller }: Pick<Question, 'address' | 'isWebSocket' | 'caller'>,
): ExplanationView {
  const { decision, isOpen, decidedBy, asked, route, candidates, effects, refusal, stages } = explanation
  const ruling = stages.find(({ stage }) => stage === decidedBy)
  const refused = stages.find(({ result }) => result === 'refused')
  return {
    decision: DECISIONS[decision],
    depends: isOpen,
    status: refusal?.status ?? (ruling && ANSWERS[ruling.reason]) ?? null,
    code: refusal?.code ?? null,
    detail: refused?.values.detail ?? null,
    request: {
      method: asked.method,
      url: `${asked.isSecure ? 'https' : 'http'}://${asked.host}${asked.target}`,
      from: address,
      websocket: isWebSocket,
    },
    principal: principalView(caller),
    route: route?.name ?? null,
    rule: { stage: decidedBy, text: ruling ? stageText(ENGLISH, ruling) : '' },
    candidates: candidates.map((candidate) => ({
      route: candidate.route.name,
      host: candidate.route.host,
      path: candidate.route.path,
      methods: candidate.route.methods && [...candidate.route.methods],
      result: candidate.result,
      text: candidateText(ENGLISH, candidate),
    })),
    stages: stages.map((finding) => ({ stage: finding.stage, result: finding.result, text: stageText(ENGLISH, finding) })),
    effects: effects && effectsView(effects),
  }
}

function principalView({ principal }: Caller): ExplanationView['principal'] {
  if (principal === null) return null
  const { kind, id, roles, scopes, hasFactor, authenticatedAt } = principal
  return {
    kind,
    id,
    roles: [...roles].sort(),
    scopes: [...scopes].sort(),
    second_factor: hasFactor,
    authenticated_at: Math.floor(authenticatedAt),
  }
}

const effectsView = (effects: Effects): NonNullable<ExplanationView['effects']> => ({
  limits: effects.limits.map(({ name, limit, windowSeconds, key, text }) => ({ name, limit, window_seconds: windowSeconds, key, text })),
  on_redis_down: effects.onRedisDown,
  upstreams: [...effects.upstreams],
  balance: effects.balance,
  upstream_path: effects.upstreamPath,
  request_headers: effects.requestHeaders.map(headerView),
  request_headers_removed: [...effects.removed.request],
  response_headers: effects.responseHeaders.map(headerView),
  response_headers_removed: [...effects.removed.response],
  deadlines: effects.deadlines && {
    connect_ms: effects.deadlines.connectMs,
    headers_ms: effects.deadlines.headersMs,
    idle_ms: effects.deadlines.idleMs,
    total_ms: effects.deadlines.totalMs,
  },
  max_body_bytes: effects.maxBodyBytes,
  cors: effects.cors.decidedBy,
  session_cookie: effects.cookie === null ? 'none' : effects.cookie.isStrict ? 'strict' : 'standard',
})

const headerView = ([name, value]: HeaderField) => ({ name, value })
