/** Rules between settings, which a schema cannot express. Problems stop the start; warnings are logged; notes are for `check --notes` alone. */
import { BlockList, isIP } from 'node:net'
import { isDeepStrictEqual } from 'node:util'
import { identityHeaderNames } from '../../identity/access/identity-headers.ts'
import { createRoles } from '../../identity/users/roles.ts'
import { isHarmless, notShown } from '../../platform/config/harmless.ts'
import { nearest } from '../../platform/config/nearest.ts'
import { BROWSER_POLICIES, type Config, DEFAULT_POLICIES, DEFAULT_TARGET_BYTES, type RouteConfig } from '../../platform/config/schema.ts'
import { problemOfUrl } from '../../platform/db/hosts.ts'
import { isId } from '../../platform/lib/ids.ts'
import { parseNetworks } from '../../platform/request/client-address.ts'
import { checkAcme } from './check-acme.ts'
import { checkBrowser } from './check-browser.ts'
import { checkCountries } from './check-countries.ts'
import { checkForwardAuth } from './check-forward-auth.ts'
import { checkIssuers } from './check-issuers.ts'
import { checkPasskeys } from './check-passkeys.ts'
import { checkProofOfWork } from './check-proof-of-work.ts'
import { checkProviders } from './check-providers.ts'
import { checkRoles } from './check-roles.ts'
import { checkRoutes } from './check-routes.ts'
import { CORS_FIELDS, modeOf, sessionOriginsOf } from './cors-rule.ts'
import type { Finding, Findings } from './finding.ts'
import { readHost } from './request-target.ts'
import { CONNECTION_FIELDS, foldName, isReservedHeader } from './reserved-headers.ts'

/** @param isComplete false: keys of routes were left out, so the routes are not compared with each other */
export function checkConfig(config: Config, { isComplete = true } = {}): Findings {
  const problems: Finding[] = []
  const warnings: Finding[] = []
  const notes: Finding[] = []
  checkAddresses(config, problems)
  checkClaims(config, problems)
  checkDatabase(config, problems, warnings)
  checkStores(config, problems)
  checkNetworks(config, problems, warnings)
  checkCountries(config, problems, warnings)
  checkNames(config, problems, warnings)
  checkTransport(config, problems, warnings)
  checkAcme(config, problems, warnings)
  checkHeaderEdits(config, problems, warnings)
  checkCors(config, warnings)
  if (URL.canParse(config.server.publicUrl)) checkBrowser(config, problems, warnings)
  checkForwardAuth(config, problems, warnings)
  checkProviders(config, problems, warnings)
  checkIssuers(config, problems, warnings)
  checkPasskeys(config, problems, warnings)
  checkMail(config, problems, warnings)
  checkProofOfWork(config, warnings)
  if (!config.routes.length)
    warnings.push({
      path: ['routes'],
      message: 'is empty: the gateway serves only accounts',
      hint: 'add a route: { name: api, match: { path: /api }, upstream: [http://localhost:3000], access: authenticated }',
    })
  checkUnusedLimits(config, warnings)
  if (isComplete && !problems.length) {
    checkRoles(config, warnings, notes)
    checkRoutes(config, { problems, warnings, notes })
  }
  return { problems, warnings, notes }
}

/** The defaults are there for everybody. */
function checkUnusedLimits({ limits, routes, auth }: Config, warnings: Finding[]): void {
  const used = new Set([...limits.default, ...routes.flatMap((route) => route.limits ?? [])])
  const defaults: Config['limits']['policies'] = auth.browser.enabled ? BROWSER_POLICIES : DEFAULT_POLICIES
  for (const [name, policy] of Object.entries(limits.policies))
    if (!used.has(name) && !isDeepStrictEqual(policy, defaults[name]))
      warnings.push({
        rule: 'limit-unused',
        path: ['limits', 'policies', name],
        message: 'no route names this policy, and limits.default does not: it counts nothing',
        hint: 'name it in routes[].limits or in limits.default, or remove it',
      })
}

function checkAddresses({ server, tokens, cors, headers }: Config, problems: Finding[]): void {
  const urls = [
    [['server', 'publicUrl'], server.publicUrl],
    [['tokens', 'issuer'], tokens.issuer],
  ] as const
  for (const [path, url] of urls)
    if (!URL.canParse(url)) problems.push({ path: [...path], message: `must be a URL such as https://api.example.com${notShown(url)}` })
  if (cors.credentials && cors.origins.includes('*'))
    problems.push({ path: ['cors', 'credentials'], message: 'cannot be true for origin *', hint: 'name the origins in cors.origins' })
  const { unverifiedEmail: _, ...names } = headers.identity
  const own = Object.values(names)
  for (const [key, name] of Object.entries(names)) checkIdentityHeader(name, own, ['headers', 'identity', key], problems)
  const all = identityHeaderNames({ headers, tokens })
  tokens.claims.forEach(({ header }, i) => {
    if (header !== undefined) checkIdentityHeader(header, all, ['tokens', 'claims', i, 'header'], problems)
  })
}

/** Any text can be a name of the right form, also a secret. */
const nameOrThis = (name: string): string => (isHarmless(name) ? name : 'this name')

/** @param names of identity headers, this one among them */
function checkIdentityHeader(name: string, names: readonly string[], path: Finding['path'], problems: Finding[]): void {
  const folded = foldName(name.toLowerCase())
  if (RESERVED_NAMES.has(folded))
    problems.push({ path, message: `${name} is a header of HTTP itself`, hint: 'use a name such as X-Auth-User' })
  if (names.filter((n) => foldName(n.toLowerCase()) === folded).length > 1)
    problems.push({ path, message: `${nameOrThis(name)} is used twice`, hint: 'give each header a name of its own' })
}

/** Claims that the gateway or a verifier gives a meaning, in our tokens or in those of OpenID Connect. */
const REGISTERED_CLAIMS = new Set([
  ...[
    'iss',
    'sub',
    'aud',
    'exp',
    'nbf',
    'iat',
    'jti',
    'typ',
    'cnf',
    'act',
    'may_act',
    'nonce',
    'htm',
    'htu',
    'at_hash',
    'c_hash',
    's_hash',
    'events',
    'sub_id',
  ],
  ...['sid', 'ver', 'roles', 'scope', 'scp', 'amr', 'acr', 'auth_time', 'azp', 'client_id', 'token_type', 'authorization_details'],
  ...['email', 'email_verified', 'preferred_username', 'password_must_change', 'active', 'username', '__proto__'],
])

function checkClaims({ tokens: { claims } }: Config, problems: Finding[]): void {
  claims.forEach(({ claim }, i) => {
    const path = ['tokens', 'claims', i, 'claim']
    if (REGISTERED_CLAIMS.has(claim.toLowerCase()))
      problems.push({ path, message: `${claim} has a meaning of its own in tokens`, hint: 'use another name, such as tenant' })
    if (claims.findIndex((other) => other.claim === claim) < i)
      problems.push({ path, message: `${nameOrThis(claim)} is used twice`, hint: 'give each claim a name of its own' })
  })
}

/** Fields of the connection and of the message framing. */
const FRAMING_NAMES = new Set<string>([...CONNECTION_FIELDS, 'proxy-authorization', 'content-length', 'expect', 'host'])

/** The gateway sets these for upstreams, whatever the client sent. */
const SET_BY_US = new Set([
  'x-auth-assertion',
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-forwarded-host',
  'via',
  'x-request-id',
  'traceparent',
])

/** Reserved headers that no route lets pass: the gateway sets them, or they are of the connection. */
const NEVER_PASSED = new Set([
  ...SET_BY_US,
  'x-forwarded-port',
  'x-forwarded-prefix',
  'x-auth-user',
  'x-auth-email',
  'x-auth-roles',
  'x-auth-session',
  'http2-settings',
])

/** Names that already have another meaning. */
const RESERVED_NAMES = new Set([
  ...FRAMING_NAMES,
  ...SET_BY_US,
  'authorization',
  'cookie',
  'cookie2',
  'tracestate',
  'range',
  'accept',
  'accept-encoding',
  'accept-language',
  'content-type',
  'content-encoding',
  'content-disposition',
  'cache-control',
  'if-match',
  'if-none-match',
  'if-modified-since',
  'origin',
  'referer',
  'user-agent',
])

/** TLS, on both sides. */
function checkTransport({ server, tokens, routes }: Config, problems: Finding[], warnings: Finding[]): void {
  const isPublicHttps = server.publicUrl.startsWith('https:')
  if (server.tls?.redirectPort !== undefined && !isPublicHttps)
    problems.push({
      path: ['server', 'tls', 'redirectPort'],
      message: 'needs a server.publicUrl of https, the target of its redirects',
      hint: 'set server.publicUrl, such as https://api.example.com',
    })
  if (server.httpsOnly && !isPublicHttps)
    problems.push({
      path: ['server', 'httpsOnly'],
      message: 'needs a server.publicUrl of https, the target of its redirects',
      hint: 'set server.publicUrl, such as https://api.example.com',
    })
  else if (server.httpsOnly && !server.tls && !server.trustedProxies.length)
    problems.push({
      path: ['server', 'httpsOnly'],
      message: 'no request would use https',
      hint: 'set server.tls, or name the balancer in server.trustedProxies',
    })
  // the default may be larger than a small header section
  if (server.maxTargetBytes > server.maxHeaderBytes && server.maxTargetBytes !== DEFAULT_TARGET_BYTES)
    warnings.push({
      path: ['server', 'maxTargetBytes'],
      message: `is larger than server.maxHeaderBytes, which the target is a part of: targets over ${server.maxHeaderBytes} bytes get 431`,
    })
  if (isId(tokens.clientId))
    problems.push({
      path: ['tokens', 'clientId'],
      message: 'is a UUID, which only machine clients have',
      hint: 'choose a name, such as portcullis',
    })
  routes.forEach((route, i) => {
    checkBalance(route, i, warnings)
    if (route.headers.assertion && tokens.algorithm === 'HS256')
      problems.push({
        path: ['routes', i, 'headers', 'assertion'],
        message: 'an upstream cannot verify it under HS256, whose key is ours alone',
        hint: 'set tokens.algorithm to ES256, EdDSA or RS256',
      })
    route.upstream.forEach((upstream, j) => {
      if (typeof upstream === 'string' || !upstream.tls) return
      const path = ['routes', i, 'upstream', j, 'tls']
      if (!upstream.url.startsWith('https:'))
        warnings.push({ path, message: `has no effect for ${upstream.url}`, hint: 'write the url with https://, or remove tls' })
      if ((upstream.tls.cert === undefined) !== (upstream.tls.key === undefined))
        problems.push({ path, message: 'cert and key go together', hint: 'set both or neither' })
    })
  })
}

/** Settings of CORS that have no effect. */
function checkCors(config: Config, warnings: Finding[]): void {
  const { cors, routes } = config
  const hasOrigins = cors.origins.length > 0 || sessionOriginsOf(config).length > 0
  const hasNobody = (path: Finding['path']) => warnings.push({ path, message: 'lets no page of another origin in: cors.origins is empty' })
  if (cors.mode === 'own' && !hasOrigins) hasNobody(['cors', 'mode'])
  routes.forEach((route, i) => {
    const path = ['routes', i, 'cors']
    if (route.cors.mode === 'own' && !hasOrigins) hasNobody([...path, 'mode'])
    const mode = route.cors.mode ?? modeOf(config)
    if (mode === 'upstream')
      for (const key of ['allowHeaders', 'methods'] as const)
        if (route.cors[key]) warnings.push({ path: [...path, key], message: 'has no effect: the upstream handles CORS of this route' })
    if (mode === 'own')
      for (const name of Object.keys(route.headers.response.set))
        if (CORS_FIELDS.has(name.toLowerCase()))
          warnings.push({
            path: ['routes', i, 'headers', 'response', 'set'],
            message: `${name} has no effect: the section cors decides. Set cors.mode: upstream for this route to decide here`,
          })
  })
}

function checkBalance({ balance, sticky, upstream }: RouteConfig, i: number, warnings: Finding[]): void {
  if (balance !== 'roundRobin' && upstream.length === 1)
    warnings.push({ path: ['routes', i, 'balance'], message: 'has no effect for one upstream: name each server' })
  if (sticky.by !== 'cookie' && balance !== 'sticky')
    warnings.push({ path: ['routes', i, 'sticky'], message: 'has no effect without balance: sticky' })
}

function checkMail({ mail, auth }: Config, problems: Finding[], warnings: Finding[]): void {
  const path = ['mail', 'url']
  if (mail.url !== undefined && !isMailServer(mail.url))
    problems.push({
      path,
      message: 'is not the address of a mail server',
      hint: 'percent-encode user and password, such as %40 for @',
    })
  const needed = [
    ...(auth.emailVerification === 'required' ? ['links that prove an address'] : []),
    ...(auth.emailLogin === 'on' ? ['codes and links that log in'] : []),
    ...(auth.newCountry === 'factor' ? ['links that confirm a login from a new country'] : []),
  ]
  if (mail.url === undefined && needed.length > 0)
    warnings.push({
      path,
      message: `is not set: ${needed.join(', and ')} are only written to files, in database.dataDir/outbox`,
      hint: 'set mail.url, such as smtp://mail.example.com:587',
    })
  if (mail.startTls !== undefined && mail.url?.startsWith('smtps:'))
    warnings.push({ path: ['mail', 'startTls'], message: 'has no effect for smtps://, which uses TLS from the start', hint: 'remove it' })
}

function isMailServer(text: string): boolean {
  try {
    const { hostname, username, password } = new URL(text)
    decodeURIComponent(username + password)
    return hostname !== ''
  } catch {
    return false
  }
}

/** Fields that a route may not set or remove: fields of the connection, and fields that the gateway vouches for. */
function checkHeaderEdits({ headers, tokens, routes }: Config, problems: Finding[], warnings: Finding[]): void {
  const vouched = new Set(identityHeaderNames({ headers, tokens }).map((name) => foldName(name.toLowerCase())))
  routes.forEach((route, i) => {
    route.headers.passReserved.forEach((name, j) => {
      const path = ['routes', i, 'headers', 'passReserved', j]
      const folded = foldName(name.toLowerCase())
      if (FRAMING_NAMES.has(folded) || vouched.has(folded) || NEVER_PASSED.has(folded))
        problems.push({ path, message: `${name} is set by the gateway alone`, hint: 'remove it here' })
      else if (!isReservedHeader(folded))
        warnings.push({ path, message: `has no effect: ${nameOrThis(name)} is not a reserved header`, hint: 'remove it here' })
    })
    for (const side of ['request', 'response'] as const) {
      const { set, remove } = route.headers[side]
      for (const [key, name] of [...Object.keys(set).map((n) => ['set', n] as const), ...remove.map((n) => ['remove', n] as const)]) {
        const lower = name.toLowerCase()
        const folded = foldName(lower)
        const isHostOfRequest = side === 'request' && key === 'set' && lower === 'host'
        const path = ['routes', i, 'headers', side, key]
        const isFraming = FRAMING_NAMES.has(side === 'request' ? folded : lower)
        if (isHostOfRequest && readHost(set[name]) === null)
          problems.push({ path, message: 'the value of Host must be a host such as orders.internal or orders.internal:8080' })
        else if ((isFraming && !isHostOfRequest) || (side === 'request' && (vouched.has(folded) || SET_BY_US.has(folded))))
          problems.push({ path, message: `${name} is set by the gateway alone`, hint: 'remove it here' })
        else if (side === 'request' && key === 'remove' && isReservedHeader(lower))
          problems.push({
            path,
            message: `${name} is never passed on from a client`,
            hint: 'there is nothing to remove: delete this entry',
          })
      }
    }
  })
}

function checkDatabase({ database }: Config, problems: Finding[], warnings: Finding[]): void {
  for (const key of ['url', 'readUrl'] as const) {
    const url = database[key]
    const message = url === undefined || url === 'embedded' ? null : problemOfUrl(url)
    const hint = 'name the hosts as in postgres://user@db1:5432,db2:5432/name, and percent-encode the password, such as %40 for @'
    if (message) problems.push({ path: ['database', key], message, hint })
  }
  if (database.url === 'embedded' && database.readUrl !== undefined)
    warnings.push({ path: ['database', 'readUrl'], message: 'has no effect for the embedded database', hint: 'remove it' })
}

function checkStores({ server, database, redis }: Config, problems: Finding[]): void {
  const local = [database.url === 'embedded' && 'database.url: embedded', redis.url === 'memory' && 'redis.url: memory']
    .filter(Boolean)
    .join(' and ')
  if (!local) return
  if (typeof server.workers === 'number' && server.workers > 1) {
    problems.push({
      path: ['server', 'workers'],
      message: `${local} serve one process`,
      hint: 'set workers to 1 or auto, or give postgres:// and redis:// addresses',
    })
  }
  if (server.replicas > 1) {
    problems.push({
      path: ['server', 'replicas'],
      message: `${local} are private to one process`,
      hint: 'set replicas to 1, or give postgres:// and redis:// addresses',
    })
  }
}

function checkNetworks({ server, limits, routes }: Config, problems: Finding[], warnings: Finding[]): void {
  const lists: [path: (string | number)[], networks: readonly string[]][] = [
    [['server', 'trustedProxies'], server.trustedProxies],
    [['limits', 'exempt'], limits.exempt],
    ...routes.flatMap(({ networks }, i) =>
      (['allow', 'deny'] as const).map((key): [(string | number)[], string[]] => [['routes', i, 'networks', key], networks[key]]),
    ),
  ]
  for (const [path, list] of lists) {
    list.forEach((text, i) => {
      if (parseNetworks([text]) === null)
        problems.push({ path: [...path, i], message: `must be a network such as 10.0.0.0/8 or fd00::/8${notShown(text)}` })
    })
  }
  server.trustedProxies.forEach((text, i) => {
    if (/\/0+$/.test(text))
      warnings.push({
        path: ['server', 'trustedProxies', i],
        message: 'trusts the address that any client claims',
        hint: 'name only the networks of your proxies',
      })
  })
  if (server.trustedProxies.length || problems.length) return
  const near = new BlockList()
  for (const [net, bits] of [
    ['127.0.0.0', 8],
    ['10.0.0.0', 8],
    ['172.16.0.0', 12],
    ['192.168.0.0', 16],
  ] as const)
    near.addSubnet(net, bits)
  limits.exempt.forEach((text, i) => {
    const address = text.split('/')[0]!
    const isPrivate = isIP(address) === 4 ? near.check(address) : /^(::1$|f[cd]|fe80)/i.test(address)
    if (isPrivate)
      warnings.push({
        path: ['limits', 'exempt', i],
        message: 'exempts a private network while trustedProxies is empty: behind a proxy there, every client would be exempt',
        hint: 'name the proxy in server.trustedProxies',
      })
  })
}

function checkNames(config: Config, problems: Finding[], warnings: Finding[]): void {
  const policies = Object.keys(config.limits.policies)
  const known = (name: string, path: (string | number)[]) => {
    if (policies.includes(name)) return
    const near = nearest(name, policies)
    problems.push({ path, message: 'no such policy', hint: near ? `did you mean ${near}?` : `known: ${policies.join(', ')}` })
  }
  for (const [i, name] of config.limits.default.entries()) known(name, ['limits', 'default', i])

  const roles = config.auth.roles
  const defined = Object.keys(roles)
  for (const [role, { inherits }] of Object.entries(roles)) {
    inherits.forEach((parent, i) => {
      const path = ['auth', 'roles', role, 'inherits', i]
      if (!defined.includes(parent))
        problems.push({ path, message: 'no such role', hint: `known: ${defined.filter(isHarmless).join(', ')}` })
      else if (createRoles(roles)([parent]).roles.includes(role))
        problems.push({
          path,
          message: parent === role ? 'is the role itself' : `${parent} inherits ${role} already`,
          hint: parent === role ? 'remove it' : 'remove one of the two',
        })
    })
  }

  const seen = new Map<string, number>()
  config.routes.forEach((route, i) => {
    const at = ['routes', i]
    for (const [j, name] of (route.limits ?? []).entries()) known(name, [...at, 'limits', j])
    if (seen.has(route.name))
      problems.push({
        path: [...at, 'name'],
        message: `${route.name} is already the name of routes[${seen.get(route.name)}]`,
        hint: 'give each route a name of its own',
      })
    seen.set(route.name, i)
    for (const [j, upstream] of route.upstream.entries()) {
      const url = typeof upstream === 'string' ? upstream : upstream.url
      if (!URL.canParse(url))
        problems.push({ path: [...at, 'upstream', j], message: `must be an origin such as http://orders:3000${notShown(url)}` })
      else if (new URL(url).port === '0')
        problems.push({
          path: [...at, 'upstream', j],
          message: 'port 0 cannot be connected to',
          hint: 'write the port that the upstream listens on',
        })
    }
    if (route.preserveHost && Object.keys(route.headers.request.set).some((name) => name.toLowerCase() === 'host'))
      problems.push({
        path: [...at, 'preserveHost'],
        message: 'cannot be true where headers.request sets Host',
        hint: 'keep one of the two',
      })
    if (AMBIGUOUS.test(route.match.path))
      problems.push({
        path: [...at, 'match', 'path'],
        message: 'must not hold // or dot segments',
        hint: 'write the path without them, such as /api/v1',
      })
    // the upstream would read another path than the path that is authorised here
    if (route.rewrite && AMBIGUOUS.test(route.rewrite.prefix))
      problems.push({
        path: [...at, 'rewrite', 'prefix'],
        message: 'must not hold // or dot segments',
        hint: 'write the path without them, such as /api/v1',
      })
    for (const method of route.match.methods ?? []) {
      if (method === 'CONNECT' || method === 'TRACE')
        problems.push({ path: [...at, 'match', 'methods'], message: `${method} is never proxied`, hint: 'remove it from the methods' })
    }
    if (typeof route.access === 'object') {
      const used = [route.access, ...(route.access.anyOf ?? []), ...(route.access.allOf ?? [])].flatMap((r) => r.roles ?? [])
      for (const role of used.filter((r) => !defined.includes(r))) {
        const shown = defined.filter(isHarmless)
        const near = nearest(role, shown)
        warnings.push({
          path: [...at, 'access'],
          message: `${isHarmless(role) ? `role ${role}` : 'a role'} is not in auth.roles`,
          hint: near ? `did you mean ${near}?` : `add it to auth.roles; known: ${shown.join(', ')}`,
        })
      }
    }
  })
}

const AMBIGUOUS = /\/\/|(^|\/)\.{1,2}(\/|$)/
