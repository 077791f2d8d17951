/** `policy explain`: which route a request would take, who decides, and what the route does with it. */
import { isIP } from 'node:net'
import { Command, Option } from 'commander'
import { nearest } from '../platform/config/nearest.ts'
import type { Config } from '../platform/config/schema.ts'
import type { Caller } from '../proxy/policy/callers.ts'
import type { ExplanationView } from '../proxy/policy/explanation-view.ts'
import { withConfig } from './configuration.ts'
import { withExamples } from './help.ts'
import { findCallers, loadForPolicy, NAME_A_USER, type PolicyArgs, readToken } from './policy-callers.ts'
import { type Terminal, table } from './terminal.ts'
import { collect, readNumber, UsageError } from './usage.ts'

interface ExplainArgs extends PolicyArgs {
  user?: string
  role?: string[]
  token?: string
  anonymous?: boolean
  from?: string
  secondFactor?: boolean
  authAge?: string
  websocket?: boolean
}

const CALLERS = ['user', 'role', 'token', 'anonymous'] as const
/** A year. */
const MAX_AGE_SECONDS = 31_536_000

export const explainCommand = (terminal: Terminal): Command =>
  withExamples(
    withConfig(
      new Command('explain')
        .description('says which route takes a request, and why it is admitted or refused')
        .argument('<METHOD>', 'GET, POST …')
        .argument('<URL>', 'as a client would send it; a path alone has the host of its route, else of server.publicUrl'),
    )
      .addOption(caller(new Option('--user <LOGIN>', 'the caller is this user: an e-mail address, a username or an id'), 'user'))
      .addOption(caller(new Option('--role <ROLE>', 'the caller has this role; may be repeated').argParser(collect), 'role'))
      .addOption(caller(new Option('--token <->', 'the caller has the token on standard input'), 'token'))
      .addOption(caller(new Option('--anonymous', 'the caller has no credential (the default)'), 'anonymous'))
      .option('--from <ADDRESS>', 'the address of the client')
      .option('--second-factor', 'the login used a second factor; a user with a factor always has used it')
      .option('--auth-age <SECONDS>', 'the login was this long ago (default: now)')
      .option('--websocket', 'the request is the handshake of a WebSocket')
      .option('--json', 'print JSON instead of text'),
    `
portcullis policy explain GET /shop/orders
portcullis policy explain POST https://api.example.com/shop/orders --user ann@example.com --from 203.0.113.7
portcullis policy explain GET /reports --role admin --second-factor
portcullis policy explain GET /shop/orders --token - < token.txt
`,
    'Exit code 0 whatever the decision. 2: the gateway refuses the form of the URL (400, 414), or the question is wrong.\nOnly --user and --token ask the database, and only --token needs PORTCULLIS_SECRET_KEY. Nothing is written.',
  ).action((method: string, url: string, args: ExplainArgs) => explain(terminal, method, url, args))

const caller = (option: Option, name: (typeof CALLERS)[number]): Option => option.conflicts(CALLERS.filter((other) => other !== name))

async function explain(terminal: Terminal, method: string, url: string, args: ExplainArgs): Promise<void> {
  if (args.token !== undefined && args.token !== '-')
    throw new UsageError('--token takes only -: the token itself is read from standard input, because arguments are visible to other users')
  if (args.from !== undefined && isIP(args.from) === 0)
    throw new UsageError(`--from takes an IP address such as 203.0.113.7, not ${args.from}`)
  const isLogin = args.user !== undefined || args.role !== undefined
  const needless = isLogin ? undefined : [args.secondFactor && '--second-factor', args.authAge !== undefined && '--auth-age'].find(Boolean)
  if (needless) throw new UsageError(`${needless} is about a login: it goes with --user or --role`)
  const ageSeconds = args.authAge === undefined ? 0 : readNumber('--auth-age', args.authAge, { min: 0, max: MAX_AGE_SECONDS })
  const [{ createExplain }, { explanationView }, { systemClock }] = await Promise.all([
    import('../proxy/policy/explain.ts'),
    import('../proxy/policy/explanation-view.ts'),
    import('../platform/lib/clock.ts'),
  ])
  const loaded = await loadForPolicy(terminal, args, { needsToken: args.token !== undefined })
  await assertMethod(method)
  const { config } = loaded
  const now = () => systemClock.now()
  const who = await callerOf(terminal, args, loaded, now() / 1000 - ageSeconds)
  const question = { method, url, caller: who, address: args.from ?? null, isWebSocket: args.websocket ?? false }
  const explanation = createExplain({ config, now })(question)
  const view = explanationView(explanation, question)
  const isMalformed = explanation.decidedBy === 'canonical' && (view.status === 400 || view.status === 414)
  if (isMalformed) terminal.exitCode = 2
  if (args.json) return terminal.printJson(view)
  if (isMalformed) return terminal.complain(malformedText(url, view, config))
  terminal.print(explanationText(view))
}

async function assertMethod(method: string): Promise<void> {
  const { isProxied, PROXIED_METHODS } = await import('../proxy/routing/proxied-methods.ts')
  // these two are answered, with 405
  if (isProxied(method) || method === 'TRACE' || method === 'CONNECT') return
  const near = nearest(method.toUpperCase(), [...PROXIED_METHODS])
  throw new UsageError(`no such method: ${method}${near ? `; did you mean ${near}?` : ', write it in capitals, such as GET'}`)
}

async function callerOf(
  terminal: Terminal,
  { user, role, token, secondFactor }: ExplainArgs,
  loaded: Awaited<ReturnType<typeof loadForPolicy>>,
  authenticatedAt: number,
): Promise<Caller> {
  const { ANONYMOUS, createCallers, roleFault } = await import('../proxy/policy/callers.ts')
  const callers = createCallers(loaded.config)
  if (role !== undefined) {
    for (const name of role) {
      const fault = roleFault(loaded.config, name)
      if (fault !== null) throw new UsageError(`--role: there is no role ${name}. ${fault}`)
    }
    return callers.of({ roles: role, hasFactor: secondFactor ?? false, authenticatedAt })
  }
  if (user === undefined && token === undefined) return ANONYMOUS
  const found = await findCallers(terminal, loaded, {
    users: user === undefined ? [] : [user],
    token: token === undefined ? null : await readToken(terminal),
  })
  if (user === undefined) return found.byToken!
  const account = found.users.get(user)
  if (!account) throw new UsageError(`there is no user ${user}: ${NAME_A_USER}, as in --role user`)
  return callers.ofUser(account, { hasFactor: secondFactor, authenticatedAt })
}

/** What is wrong, where, and what would be right. */
function malformedText(url: string, { status, code, detail }: ExplanationView, { server }: Config): string {
  const hint =
    code === 'target_too_long'
      ? `the target may have ${server.maxTargetBytes} bytes: server.maxTargetBytes`
      : /^(?:https?:\/)?\//i.test(url)
        ? 'write the host and the path in their plain form, as clients must send them'
        : `write a URL such as ${server.publicUrl}/orders, or a path such as /orders`
  return `${url}: the gateway answers ${status} ${code}. ${detail}\n  ${hint}`
}

const DECISIONS: Record<string, string> = {
  allow: 'allowed',
  refuse: 'refused',
  answer: 'answered by the gateway',
  own: 'an endpoint of the gateway decides',
}

function explanationText(view: ExplanationView): string {
  const { decision, depends, status, code, detail, request, principal, route, rule, candidates, stages } = view
  const outcome = [DECISIONS[decision], status, code].filter((part) => part !== null).join(' ')
  const lines = [
    `${request.method} ${request.url}${request.websocket ? ' (WebSocket)' : ''}`,
    ...rows([
      ['caller', callerText(principal, code)],
      ['client', request.from ?? 'any address'],
      ['decision', depends ? `${outcome}, unless the network or the country of the client is refused: give --from ADDRESS` : outcome],
      ['rule', `${rule.stage}: ${rule.text}`],
      ...(detail === null || rule.text.includes(detail) ? [] : [['answer', detail] as const]),
      ['route', route ?? 'none'],
    ]),
  ]
  if (candidates.length > 0)
    lines.push(
      '',
      'Routes that cover the path, in the order in which they are matched',
      indented(
        table(
          candidates.map(({ route: name, host, path, methods, text }) => ({
            route: name,
            host: host ?? '*',
            path,
            methods: methods?.join(',') ?? '*',
            why: text,
          })),
        ),
      ),
    )
  lines.push(
    '',
    'Stages',
    indented(
      table(
        stages
          .filter(({ result }) => result !== 'unused' && result !== 'unreached')
          .map(({ stage, result, text }) => ({ stage, result, why: text })),
      ),
    ),
  )
  return [...lines, ...effectsText(view)].join('\n')
}

function effectsText({ effects, request }: ExplanationView): string[] {
  if (effects === null) return []
  const { deadlines, upstreams } = effects
  const weighted = upstreams.length > 1 ? ` (${effects.balance})` : ''
  return [
    '',
    'What the route does',
    ...rows([
      ['limits', effects.limits.map(({ name, text }) => `${name}: ${text}`).join(', ') || 'none'],
      [
        'upstream',
        upstreams.length === 0
          ? 'the one of the proxy that asks'
          : upstreams.map(({ origin, weight }) => (weighted && weight !== 1 ? `${origin} weight ${weight}` : origin)).join(', ') + weighted,
      ],
      ['sends', `${request.method} ${effects.upstream_path}`],
      ...effects.request_headers.map(({ name, value }, i) => [i === 0 ? 'headers' : '', `${name}: ${value}`] as const),
      ...(effects.request_headers_removed.length > 0 ? [['removes', effects.request_headers_removed.join(', ')] as const] : []),
      ...effects.response_headers.map(({ name, value }, i) => [i === 0 ? 'answers with' : '', `${name}: ${value}`] as const),
      ['deadlines', deadlines === null ? 'those of the proxy that asks' : deadlinesText(deadlines)],
      ['body', effects.max_body_bytes === null ? 'as the proxy that asks limits it' : `at most ${effects.max_body_bytes} bytes`],
      ['CORS', `decided by the ${effects.cors}`],
      ['session cookie', COOKIES[effects.session_cookie]!],
    ]),
  ]
}

type Deadlines = NonNullable<NonNullable<ExplanationView['effects']>['deadlines']>
const deadlinesText = ({ connect_ms: connect, headers_ms: headers, idle_ms: idle, total_ms: total }: Deadlines): string =>
  `connect ${connect} ms, headers ${headers} ms, idle ${idle} ms, whole request ${total === 0 ? 'without limit' : `${total} ms`}`

const COOKIES: Record<string, string> = {
  none: 'not used: auth.browser is off',
  standard: 'counts; requests of other sites that may change something are refused',
  strict: 'counts only for requests of our own pages and of auth.browser.origins',
}

const KINDS: Record<string, string> = {
  user: 'user',
  apiKey: 'API key of user',
  client: 'machine client',
  external: 'subject of another issuer',
}

const callerText = (principal: ExplanationView['principal'], code: string | null): string => {
  if (principal === null) return code?.startsWith('token_') && code !== 'token_missing' ? 'a credential that is refused' : 'anonymous'
  const { kind, id, roles, second_factor: factor } = principal
  return `${id === '<id>' ? 'a user' : `${KINDS[kind] ?? kind} ${id}`} with ${roles.length > 0 ? `roles ${roles.join(', ')}` : 'no role'}${factor ? ' and a second factor' : ''}`
}

const NAME_WIDTH = 16
const rows = (pairs: readonly (readonly [name: string, value: string])[]): string[] =>
  pairs.map(([name, value]) => `  ${name.padEnd(NAME_WIDTH)}${value}`)

const indented = (text: string): string => text.replace(/^(?=.)/gm, '  ')
