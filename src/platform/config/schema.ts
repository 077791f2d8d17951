/** One schema: the type, the validation, the defaults, the documentation and `config/portcullis.schema.json`. */
import { type Static, type TProperties, type TSchemaOptions, Type } from 'typebox'

const section = <P extends TProperties>(properties: P, description: string) =>
  Type.Object(properties, { additionalProperties: false, default: {}, description })
const strict = <P extends TProperties>(properties: P, description?: string) =>
  Type.Object(properties, { additionalProperties: false, ...(description ? { description } : {}) })
const oneOf = <L extends string[]>(values: readonly [...L], options: TSchemaOptions = {}) => Type.Enum<L>(values, options)
const integer = (minimum: number, fallback: number, description: string, maximum = 2_147_483_647) =>
  Type.Integer({ minimum, maximum, default: fallback, description })
const port = (fallback: number) =>
  Type.Integer({ minimum: 0, maximum: 65535, default: fallback, description: 'TCP port; 0 takes a free one.' })
const names = (description: string) => Type.Array(Type.String({ minLength: 1 }), { default: [], description })
const name = (description: string) => Type.String({ pattern: '^[A-Za-z][A-Za-z0-9_.-]{0,62}$', description })

// said twice in a record, as its key and in propertyNames: without that, a name of another form is not looked at
const POLICY_NAME = '^[A-Za-z][A-Za-z0-9_-]{0,62}$'
export const ROLE_NAME = '^[a-z][a-z0-9_.:-]{0,62}$'

const Limit = strict({
  limit: Type.Integer({ minimum: 1, maximum: 1_000_000_000, description: 'Requests per window.' }),
  windowSeconds: Type.Integer({ minimum: 1, maximum: 86_400, description: 'Length of the window.' }),
})
const credentialLimit = (limit: number, windowSeconds: number, description: string) =>
  Type.Object(Limit.properties, { additionalProperties: false, default: { limit, windowSeconds }, description })

const LimitKey = oneOf(['client', 'principal', 'apiKey', 'anonymous'], {
  description: 'Who is counted: every address; a known caller; an API key; or an address only while it sends no credential.',
})

const Policy = Type.Object({ ...Limit.properties, key: LimitKey }, { additionalProperties: false })

const Requirement = {
  roles: Type.Optional(Type.Array(Type.String({ minLength: 1 }), { minItems: 1, description: 'Any one of these roles.' })),
  scopes: Type.Optional(Type.Array(Type.String({ minLength: 1 }), { minItems: 1, description: 'All of these scopes.' })),
}
const Requirements = Type.Array(Type.Object(Requirement, { additionalProperties: false, minProperties: 1 }), { minItems: 1 })
const Access = Type.Union(
  [
    oneOf(['public', 'authenticated']),
    Type.Object(
      {
        ...Requirement,
        anyOf: Type.Optional({ ...Requirements, description: 'At least one of these holds.' }),
        allOf: Type.Optional({ ...Requirements, description: 'Every one of these holds.' }),
        mfa: Type.Optional(
          Type.Boolean({ description: 'True: only sessions that began with a second factor; API keys and machines never.' }),
        ),
        maxAuthAgeSeconds: Type.Optional(
          Type.Integer({
            minimum: 1,
            maximum: 2_147_483_647,
            description: 'Who authenticated longer ago has to do it again (RFC 9470); API keys and machines never pass.',
          }),
        ),
      },
      { additionalProperties: false, minProperties: 1 },
    ),
  ],
  {
    description:
      'Who may call: public | authenticated | { roles, scopes, anyOf, allOf, mfa, maxAuthAgeSeconds }. Several keys must all hold.',
  },
)

const ORIGIN = '^https?://([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?/?$'
const Upstream = Type.Union([
  Type.String({ pattern: ORIGIN, description: 'Origin, such as http://orders:3000' }),
  strict({
    url: Type.String({ pattern: ORIGIN, description: 'Origin, such as http://orders:3000' }),
    weight: Type.Integer({ minimum: 1, maximum: 100, default: 1, description: 'Share of the requests, relative to the others.' }),
    tls: Type.Optional(
      strict(
        {
          ca: Type.Optional(
            Type.String({ description: 'PEM file: the CA that its certificate must come from, in place of the public ones.' }),
          ),
          cert: Type.Optional(Type.String({ description: 'PEM file: our certificate, for an upstream that asks for one.' })),
          key: Type.Optional(Type.String({ description: 'PEM file: the key of cert.' })),
        },
        'For https: always verified.',
      ),
    ),
  }),
])

const FIELD_NAME = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"
const FieldValue = { pattern: '^[\\x20-\\x7e\\xa0-\\xff]*$' }
const HeaderEdits = (whose: string, value: TSchemaOptions = FieldValue) =>
  section(
    {
      set: Type.Record(Type.String({ pattern: FIELD_NAME }), Type.String(value), {
        propertyNames: { pattern: FIELD_NAME },
        default: {},
        description: 'Fields with these values, in place of any others of the name.',
      }),
      remove: Type.Array(Type.String({ pattern: FIELD_NAME }), { default: [], description: 'Fields that are dropped.' }),
    },
    whose,
  )
const Networks = section(
  {
    allow: names('Networks (CIDR) that may call; none: all.'),
    deny: names('Networks (CIDR) that may not, whatever allow says.'),
  },
  'By client address.',
)

const Route = strict({
  name: name('Names the route in logs, metrics and limits.'),
  match: strict(
    {
      path: Type.String({ pattern: "^/[A-Za-z0-9/_.~!$&'()*+,=:@-]*$", description: 'Prefix, on a segment boundary.' }),
      methods: Type.Optional(
        Type.Array(Type.String({ pattern: '^[A-Z]+(-[A-Z]+)*$' }), { minItems: 1, description: 'None: all methods.' }),
      ),
      host: Type.Optional(
        Type.String({ pattern: '^[A-Za-z0-9._-]+$|^\\[[0-9a-fA-F:]+\\]$', description: 'Host without port. None: any host.' }),
      ),
      caseSensitive: Type.Boolean({ default: false, description: 'True only for an upstream to which /A and /a are two things.' }),
    },
    'Which requests are its own. The longest path wins.',
  ),
  upstream: Type.Array(Upstream, { minItems: 1, description: 'Where they go: origins, alone or with a weight.' }),
  access: Access,
  limits: Type.Optional(Type.Array(Type.String(), { description: 'Policy names. None: limits.default.' })),
  rewrite: Type.Optional(
    strict(
      { prefix: Type.String({ pattern: '^/[A-Za-z0-9/_.~-]*$', description: 'What replaces match.path.' }) },
      'Another path upstream.',
    ),
  ),
  headers: section(
    {
      // a value may be what the upstream knows us by: never shown
      request: HeaderEdits('To the upstream.', { ...FieldValue, writeOnly: true }),
      response: HeaderEdits("Of the upstream's answers."),
      forwardAuthorization: Type.Boolean({ default: false, description: "Pass the client's Authorization header on." }),
      assertion: Type.Boolean({
        default: false,
        description: 'Send X-Auth-Assertion: a JWT that proves who calls, for this upstream alone.',
      }),
    },
    'Headers of this route.',
  ),
  networks: Networks,
  timeouts: section(
    {
      connectMs: integer(1, 1000, 'To open a connection to the upstream.'),
      headersMs: integer(1, 15_000, "Until the upstream's response headers."),
      idleMs: integer(1, 30_000, 'Between two pieces of a body.'),
      totalMs: integer(0, 0, 'For the whole request; 0: no bound.'),
    },
    'Deadlines in milliseconds.',
  ),
  connections: section(
    {
      max: integer(1, 1024, 'Requests and streams that one upstream carries at a time.', 65_535),
      queue: integer(0, 1024, 'Requests that may wait for a place, in each worker; more answer 503.', 1_000_000),
      waitMs: integer(1, 1000, 'How long one waits, then 503.'),
    },
    'Bounds of each upstream.',
  ),
  breaker: section(
    {
      failures: integer(0, 5, 'In a row, until an upstream is left alone; 0: never.', 1000),
      openMs: integer(1, 5000, 'Then one request is let through on trial. Doubled by each trial that fails, up to 8 times as long.'),
      statuses: Type.Array(Type.Integer({ minimum: 500, maximum: 599 }), {
        default: [],
        description:
          'Answers that count as failures, too, such as 503. No connection, or no answer in time, always do; a malformed answer never does.',
      }),
    },
    'What is done about an upstream that fails.',
  ),
  body: section({ maxBytes: integer(0, 1_048_576, 'Largest request body.', Number.MAX_SAFE_INTEGER) }, 'Request body.'),
  allow: Type.Array(oneOf(['encodedSlash', 'doubleSlash', 'semicolon', 'percent']), {
    default: [],
    description: 'Forms of the path below the prefix that are otherwise refused as ambiguous.',
  }),
  websocket: Type.Boolean({ default: false, description: 'Allow WebSocket upgrades.' }),
  onRedisDown: oneOf(['local', 'open', 'closed'], {
    default: 'local',
    description: 'While Redis is away: count in this process (limit ÷ replicas), let everything pass, or answer 503.',
  }),
})

export const ConfigSchema = Type.Object(
  {
    server: section(
      {
        host: Type.String({ default: '0.0.0.0', description: 'Address to listen on.' }),
        port: port(8080),
        publicUrl: Type.Optional(
          Type.String({
            pattern: '^https?://[^/?#]+/?$',
            description: 'Where clients reach us, such as https://api.example.com. None: localhost and the port.',
          }),
        ),
        workers: Type.Union([oneOf(['auto']), Type.Integer({ minimum: 1, maximum: 1024 })], {
          default: 'auto',
          description: 'Processes that serve. auto: one for each core; one with an embedded or in-memory store.',
        }),
        replicas: integer(1, 1, 'Gateways that share one Redis; local limits are divided by it.', 10_000),
        trustedProxies: Type.Array(Type.String(), { default: [], description: 'Networks (CIDR) whose X-Forwarded-* are believed.' }),
        forwardedBy: oneOf(['x-forwarded', 'forwarded'], {
          default: 'x-forwarded',
          description:
            'In which headers trusted proxies speak: X-Forwarded-For, -Proto and -Host, or Forwarded (RFC 7239). The other kind is ignored.',
        }),
        tls: Type.Optional(
          strict(
            {
              cert: Type.String({ description: 'PEM file, the chain with the leaf first.' }),
              key: Type.String({ description: 'PEM file.' }),
              reloadSeconds: integer(1, 10, 'How often the files are looked at; new ones are taken without a restart.', 86_400),
              redirectPort: Type.Optional(
                Type.Integer({ minimum: 0, maximum: 65535, description: 'A plain HTTP listener that sends everybody to https.' }),
              ),
            },
            'HTTPS on this listener.',
          ),
        ),
        httpsOnly: Type.Boolean({
          default: false,
          description: 'Requests that a trusted proxy got by http, or that came so to us, are sent to https (308). Not /health.',
        }),
        hsts: section(
          {
            maxAgeSeconds: integer(0, 31_536_000, 'How long browsers keep to https; 0: not told.'),
            includeSubDomains: Type.Boolean({ default: false, description: 'Subdomains as well.' }),
          },
          'Strict-Transport-Security, on answers over https where publicUrl is https.',
        ),
        headersTimeoutMs: integer(1, 10_000, 'To receive the header section.'),
        requestTimeoutMs: integer(0, 300_000, 'To receive the whole request; 0: no bound.'),
        keepAliveTimeoutMs: integer(1, 72_000, 'An idle connection is kept this long.'),
        maxConnections: integer(1, 20_000, 'Client connections at a time, shared out among the workers.'),
        maxRequestsPerSocket: integer(0, 10_000, 'Then the connection is closed, so that clients spread anew; 0: no bound.'),
        maxHeaderBytes: integer(1024, 16_384, 'Largest header section, request line included.', 1_048_576),
        maxHeaders: integer(10, 200, 'Most header fields.', 10_000),
        shutdownDelayMs: integer(0, 0, 'After SIGTERM: not ready, yet still serving, until balancers have noticed.'),
        shutdownTimeoutMs: integer(0, 25_000, 'After SIGTERM: to finish what is in flight.'),
      },
      'The public listener.',
    ),
    admin: section(
      { host: Type.String({ default: '127.0.0.1', description: 'Address to listen on.' }), port: port(9090) },
      'The listener for /livez, /readyz and /metrics; never public.',
    ),
    database: section(
      {
        url: Type.String({
          writeOnly: true, // it may hold a password: never shown
          default: 'embedded',
          pattern: '^embedded$|^postgres(ql)?://',
          description: 'embedded, or postgres://…',
        }),
        dataDir: Type.String({ default: './data', description: 'Folder of the embedded database.' }),
        poolSize: integer(1, 10, 'Connections to Postgres, shared out among the workers; at least two of each.', 1000),
      },
      'Users, sessions, keys.',
    ),
    redis: section(
      {
        url: Type.String({
          writeOnly: true,
          default: 'memory',
          pattern: '^memory$|^rediss?(\\+(sentinel|cluster))?://',
          description: 'memory, redis://…, rediss://…, redis+sentinel://host:port,…/master, redis+cluster://host:port,…',
        }),
      },
      'Rate limits, and faster revocation.',
    ),
    tokens: section(
      {
        issuer: Type.Optional(Type.String({ pattern: '^https?://[^?#]+$', description: 'None: server.publicUrl.' })),
        audience: Type.String({ default: 'api', minLength: 1, description: 'The aud claim.' }),
        algorithm: oneOf(['EdDSA', 'ES256', 'RS256', 'HS256'], {
          default: 'EdDSA',
          description: 'Of new signing keys. HS256 publishes none in the JWKS.',
        }),
        accessTtlSeconds: integer(10, 900, 'Life of an access token.', 86_400),
        refreshTtlSeconds: integer(60, 604_800, 'Life of a refresh token that is not used.', 31_536_000),
        keyPollSeconds: integer(1, 30, 'How often signing keys are read again.', 3600),
        jwksMaxAgeSeconds: integer(0, 300, 'Cache-Control of the JWKS; a new key waits this long before it signs.', 86_400),
        emailClaims: Type.Boolean({ default: true, description: 'email, email_verified and preferred_username in the token.' }),
      },
      'Access and refresh tokens.',
    ),
    auth: section(
      {
        prefix: Type.String({ default: '/auth', pattern: '^(/[A-Za-z0-9_.~-]+)+$', description: 'Where our own endpoints stand.' }),
        registration: oneOf(['open', 'closed'], { default: 'open', description: 'closed: only operators create users.' }),
        emailVerification: oneOf(['off', 'required'], {
          default: 'off',
          description: 'required: an account, and a new address of one, begins with a link that is mailed to the address.',
        }),
        password: section(
          {
            minLength: integer(8, 12, 'Code points.', 256),
            breachCheck: section(
              {
                enabled: Type.Boolean({ default: false, description: 'Refuse new passwords that are known from breaches.' }),
                url: Type.String({
                  default: 'https://api.pwnedpasswords.com/range/',
                  pattern: '^https?://[^?#]+/$',
                  description: 'Range API (k-anonymity): it is sent the first five digits of a SHA-1, never more.',
                }),
                timeoutMs: integer(1, 1000, 'Then the password is taken, with a warning in the log.', 60_000),
              },
              'Passwords from breaches. A list of common ones comes with the gateway and is always refused.',
            ),
            argon2: section(
              {
                memoryKiB: integer(1024, 19_456, 'Memory of one hash.', 4_194_304),
                passes: integer(1, 2, 'Iterations.', 100),
                concurrency: integer(1, 2, 'Hashes at a time, shared out among the workers.', 64),
                queue: integer(0, 64, 'Requests that may wait for one, shared out among the workers; more answer 503.', 100_000),
              },
              'Cost of a password hash.',
            ),
          },
          'Passwords.',
        ),
        refresh: section(
          {
            graceSeconds: integer(0, 10, 'How long a repeated refresh is a retry and no theft.', 300),
            onRetry: oneOf(['reject', 'repeat'], { default: 'reject', description: 'repeat: a retry gets the same successor again.' }),
            onReuse: oneOf(['revokeSession', 'revokeUser'], {
              default: 'revokeSession',
              description: 'What a stolen token ends: its session, or all of the user.',
            }),
          },
          'Refresh token rotation.',
        ),
        sessions: section(
          {
            idleTtlSeconds: Type.Optional(
              Type.Integer({
                minimum: 60,
                maximum: 31_536_000,
                description: 'A session that was not refreshed for so long has ended. None: tokens.refreshTtlSeconds.',
              }),
            ),
            absoluteTtlSeconds: integer(60, 2_592_000, 'A session ends after this, used or not.'),
            maxPerUser: integer(0, 0, 'A further login ends the session that was unused for longest; 0: no bound.', 10_000),
          },
          'Sessions.',
        ),
        mfa: section(
          {
            issuer: Type.Optional(
              Type.String({
                pattern: '^[^:\\p{Cc}]{1,64}$',
                description: 'What authenticator apps show. None: the host of server.publicUrl.',
              }),
            ),
            requiredForRoles: names('Roles that count only in sessions with a second factor; else 403 mfa_required.'),
          },
          'Second factor.',
        ),
        apiKeys: section({ maxPerUser: integer(0, 50, 'Living keys of one user; 0: nobody may have any.', 10_000) }, 'API keys of users.'),
        roles: Type.Record(
          Type.String({ pattern: ROLE_NAME }),
          Type.Object(
            { inherits: names('Roles that this one has too.'), scopes: names('Scopes that this role gives.') },
            { additionalProperties: false, default: {} },
          ),
          {
            propertyNames: { pattern: ROLE_NAME },
            default: { admin: { inherits: ['user'], scopes: [] }, user: { inherits: [], scopes: [] } },
            description: 'Known roles.',
          },
        ),
        cleanup: section(
          {
            intervalSeconds: integer(1, 21_600, 'Between two runs.'),
            revokedRetentionDays: integer(0, 30, 'Days that revoked sessions are kept.', 3650),
          },
          'Removal of dead sessions and tokens.',
        ),
        audit: section(
          {
            sealSeconds: integer(1, 60, 'How often new rows are sealed.', 86_400),
            retentionDays: integer(0, 730, 'Days that rows are kept; 0: for ever.', 36_500),
          },
          'The log of what happened to accounts.',
        ),
      },
      'Accounts.',
    ),
    mail: section(
      {
        url: Type.Optional(
          Type.String({
            writeOnly: true,
            pattern: '^smtps?://[^/?#]+/?$',
            description: 'smtp://user:password@host:587, or smtps://. None: mails are files in database.dataDir/outbox.',
          }),
        ),
        startTls: Type.Optional(
          oneOf(['required', 'optional'], {
            description:
              'Of smtp://. required: no mail leaves without TLS and a certificate that verifies. optional: TLS if offered, by whomever. None: required, but for a mail server on this machine.',
          }),
        ),
        from: Type.Optional(
          Type.String({
            maxLength: 320,
            pattern: '^([^"<>\\p{Cc}]*<[^\\s"<>@,;]+@[^\\s"<>@,;]+>|[^\\s"<>@,;]+@[^\\s"<>@,;]+)$',
            description: 'Sender, such as Example <no-reply@example.com>. None: no-reply@ and the host of server.publicUrl.',
          }),
        ),
      },
      'Mails to users.',
    ),
    limits: section(
      {
        credentials: section(
          {
            register: credentialLimit(3, 60, 'Per address.'),
            login: credentialLimit(5, 60, 'Per address and account; failures fill windows ten and sixty times as long, too.'),
            address: credentialLimit(100, 3600, 'Failed logins per address, over all accounts.'),
            account: credentialLimit(30, 3600, 'Failed logins per account, over all addresses; a known device has as many of its own.'),
            mfa: credentialLimit(5, 900, 'Wrong codes per account, counted in the database; a known device has as many of its own.'),
            recovery: credentialLimit(10, 3600, 'Requests for, and uses of, mailed links per address.'),
            mail: credentialLimit(
              5,
              3600,
              'Mails to one address that somebody asked for, to prove it or for a new password; of each as many, more are not sent.',
            ),
            refresh: credentialLimit(10, 60, 'Failed refreshes per address.'),
            client: credentialLimit(30, 60, 'Failed authentications of machine clients, per address.'),
            token: credentialLimit(60, 60, 'Access tokens that fail verification, per address.'),
          },
          'Credential endpoints.',
        ),
        policies: Type.Record(Type.String({ pattern: POLICY_NAME }), Policy, {
          propertyNames: { pattern: POLICY_NAME },
          default: {
            perUser: { limit: 600, windowSeconds: 60, key: 'principal' },
            perIp: { limit: 60, windowSeconds: 60, key: 'anonymous' },
          },
          description: 'Named policies for routes.',
        }),
        default: Type.Array(Type.String(), { default: ['perIp'], description: 'For routes that name none.' }),
        streams: integer(
          1,
          100,
          'WebSockets and event streams of one user, or one address without a token, at a time; of each worker.',
          1_000_000,
        ),
        exempt: Type.Array(Type.String(), {
          default: [],
          description: 'Networks (CIDR) that address limits leave alone: the TCP peer must be inside and no forwarding header present.',
        }),
      },
      'Rate limits.',
    ),
    cors: section(
      {
        origins: Type.Array(Type.String({ pattern: '^\\*$|^https?://[^/?#]+$' }), { default: [], description: 'Origins, or *.' }),
        credentials: Type.Boolean({ default: false, description: 'Let browsers send cookies and Authorization.' }),
        maxAgeSeconds: integer(0, 600, 'Cache of a preflight.', 86_400),
      },
      'Cross-origin requests; no origins: left to the upstreams.',
    ),
    headers: section(
      {
        identity: section(
          {
            user: Type.String({
              default: 'X-Auth-User',
              pattern: '^[A-Za-z][A-Za-z0-9-]*$',
              description: 'Carries the user id, the sub claim; letters, digits and hyphens.',
            }),
            email: Type.String({
              default: 'X-Auth-Email',
              pattern: '^[A-Za-z][A-Za-z0-9-]*$',
              description: 'Carries the verified e-mail address; letters, digits and hyphens.',
            }),
            roles: Type.String({
              default: 'X-Auth-Roles',
              pattern: '^[A-Za-z][A-Za-z0-9-]*$',
              description: 'Carries the roles, sorted, by comma; letters, digits and hyphens.',
            }),
            session: Type.String({
              default: 'X-Auth-Session',
              pattern: '^[A-Za-z][A-Za-z0-9-]*$',
              description: 'Carries the session id; letters, digits and hyphens.',
            }),
            unverifiedEmail: Type.Boolean({ default: false, description: 'Send the e-mail although it is not verified.' }),
          },
          'Names of the identity headers.',
        ),
      },
      'Headers to upstreams.',
    ),
    log: section(
      {
        level: oneOf(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], {
          default: 'info',
          description: 'The least that is written.',
        }),
        skip: Type.Array(Type.String({ pattern: '^/' }), { default: ['/health'], description: 'Paths without an access log line.' }),
        sample: Type.Number({ minimum: 0, maximum: 1, default: 1, description: 'Share of successful requests that are logged.' }),
      },
      'Log.',
    ),
    docs: section(
      { enabled: Type.Boolean({ default: true, description: 'Serve /openapi.json and /docs there.' }) },
      'OpenAPI document and page under auth.prefix.',
    ),
    routes: Type.Array(Route, { default: [], description: 'What is proxied.' }),
  },
  { additionalProperties: false, title: 'Portcullis configuration' },
)

type Parsed = Static<typeof ConfigSchema>
export type RouteConfig = Static<typeof Route>
export type AccessConfig = Static<typeof Access>
export type PolicyConfig = Static<typeof Policy>

/** Secrets come from the environment alone and are never part of what `check --print` shows. */
export interface Secrets {
  secretKey: Buffer | null
  previousSecretKey: Buffer | null
  adminEmail: string | null
  adminPassword: string | null
}

export type Config = Parsed & {
  server: Parsed['server'] & { publicUrl: string }
  tokens: Parsed['tokens'] & { issuer: string }
}
