/** One schema: the type, the validation, the defaults, the documentation and `config/portcullis.schema.json`. */
import { type Static, type TProperties, type TSchema, type TSchemaOptions, type TString, Type } from 'typebox'

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

export const DEFAULT_TARGET_BYTES = 8192

// needed twice in a record, as its key and in propertyNames: without propertyNames, a name of another form is not validated
const POLICY_NAME = '^[A-Za-z][A-Za-z0-9_-]{0,62}$'
export const ROLE_NAME = '^[a-z][a-z0-9_.:-]{0,62}$'

/** Names that readers could take for the service itself. */
const RESERVED_USERNAMES =
  'abuse admin administrator anonymous api auth billing contact daemon everyone help helpdesk hostmaster info login logout mail mailer-daemon moderator no-reply nobody noreply official operator portcullis postmaster register root sales security service staff superuser support sysadmin system team undefined webmaster www'.split(
    ' ',
  )

const Limit = strict({
  limit: Type.Integer({ minimum: 1, maximum: 1_000_000_000, description: 'Requests per window.' }),
  windowSeconds: Type.Integer({ minimum: 1, maximum: 86_400, description: 'Length of the window.' }),
})
/** Signatures and random secrets cannot be guessed. */
const PACED = 'Above it, 50 a second are still checked, so that valid ones pass.'

const credentialLimit = (limit: number, windowSeconds: number, description: string) =>
  Type.Object(Limit.properties, { additionalProperties: false, default: { limit, windowSeconds }, description })

const LimitKey = oneOf(['client', 'principal', 'apiKey', 'anonymous'], {
  description:
    'What is counted. client: each address. principal: each known user or machine. apiKey: each API key. anonymous: each address, but only requests without a credential.',
})

const Policy = Type.Object({ ...Limit.properties, key: LimitKey }, { additionalProperties: false })

/** They exist unless the operator defines policies of the same names (load-config.ts), so that the default of `limits.default` is valid. */
export const DEFAULT_POLICIES = {
  perUser: { limit: 600, windowSeconds: 60, key: 'principal' },
  perIp: { limit: 60, windowSeconds: 60, key: 'anonymous' },
} as const

/** The same, where browsers are callers: a page loads many files. */
export const BROWSER_POLICIES = {
  perUser: { ...DEFAULT_POLICIES.perUser, limit: 3000 },
  perIp: { ...DEFAULT_POLICIES.perIp, limit: 600 },
} as const

const Requirement = {
  roles: Type.Optional(
    Type.Array(Type.String({ minLength: 1 }), { minItems: 1, description: 'The principal has at least one of these roles.' }),
  ),
  scopes: Type.Optional(Type.Array(Type.String({ minLength: 1 }), { minItems: 1, description: 'The principal has all of these scopes.' })),
}
const CountryList = (description: string) => Type.Optional(Type.Array(Type.String(), { minItems: 1, uniqueItems: true, description }))
const Countries = Type.Object(
  {
    allow: CountryList('Codes of countries (ISO 3166-1, such as DE). Clients from other countries are refused.'),
    deny: CountryList('Codes of countries that are refused, even if allow has them.'),
    unknown: Type.Optional(
      oneOf(['allow', 'deny'], {
        description: 'Clients whose country is unknown, such as those of private addresses. None: deny with a list allow, otherwise allow.',
      }),
    ),
  },
  {
    additionalProperties: false,
    minProperties: 1,
    description:
      'Access by the country of the client address. It needs geo.database. An address can belong to a proxy or a VPN: it proves nothing.',
  },
)
const Requirements = Type.Array(Type.Object(Requirement, { additionalProperties: false, minProperties: 1 }), { minItems: 1 })
const Access = Type.Union(
  [
    oneOf(['public', 'authenticated']),
    Type.Object(
      {
        ...Requirement,
        public: Type.Optional(
          Type.Boolean({ description: 'True: nobody needs a credential, as with access: public. Only countries may stand beside it.' }),
        ),
        countries: Type.Optional(Countries),
        anyOf: Type.Optional({ ...Requirements, description: 'At least one of these requirements holds.' }),
        allOf: Type.Optional({ ...Requirements, description: 'All of these requirements hold.' }),
        mfa: Type.Optional(
          Type.Boolean({ description: 'True: only sessions that began with a second factor. API keys and machine clients never pass.' }),
        ),
        maxAuthAgeSeconds: Type.Optional(
          Type.Integer({
            minimum: 1,
            maximum: 2_147_483_647,
            description:
              'A user whose last authentication is older must authenticate again (RFC 9470). API keys and machine clients never pass.',
          }),
        ),
      },
      { additionalProperties: false, minProperties: 1 },
    ),
  ],
  {
    description:
      'Access rule: public | authenticated | { roles, scopes, anyOf, allOf, mfa, maxAuthAgeSeconds, countries } | { public: true, countries }. With several keys, all of them must hold.',
  },
)

const ORIGIN = '^https?://([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?/?$'
const Upstream = Type.Union([
  Type.String({ pattern: ORIGIN, description: 'Origin, such as http://orders:3000' }),
  strict({
    url: Type.String({ pattern: ORIGIN, description: 'Origin, such as http://orders:3000' }),
    weight: Type.Integer({
      minimum: 1,
      maximum: 100,
      default: 1,
      description: 'Share of the requests, relative to the weights of the other upstreams.',
    }),
    tls: Type.Optional(
      strict(
        {
          ca: Type.Optional(
            Type.String({
              description: 'PEM file: the CA that must have signed the certificate of the upstream. It replaces the public CAs.',
            }),
          ),
          cert: Type.Optional(
            Type.String({ description: 'PEM file: the client certificate of the gateway, for an upstream that asks for it.' }),
          ),
          key: Type.Optional(Type.String({ description: 'PEM file: the private key of cert.' })),
        },
        'TLS to an https upstream. Its certificate is always verified.',
      ),
    ),
  }),
])

/** Without a user or a password: it is public. */
const PAGE_URL = 'https?://[^\\s"<>/?#@\\\\]+([/?#][^\\s"<>]*)?'

const METHOD = '^[A-Z]+(-[A-Z]+)*$'
const FIELD_NAME = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"
const FieldValue = { pattern: '^[\\x20-\\x7e\\xa0-\\xff]*$' }
const HeaderEdits = (whose: string, value: TSchemaOptions = FieldValue) =>
  section(
    {
      set: Type.Record(Type.String({ pattern: FIELD_NAME }), Type.String(value), {
        propertyNames: { pattern: FIELD_NAME },
        default: {},
        description: 'Fields that are set. They replace fields of the same name.',
      }),
      remove: Type.Array(Type.String({ pattern: FIELD_NAME }), { default: [], description: 'Names of fields that are removed.' }),
    },
    whose,
  )
const corsMode = (fallback: string) =>
  oneOf(['own', 'upstream'], {
    description: `own: the gateway answers preflights and lets in the origins of cors.origins; CORS headers of the upstream are dropped. upstream: preflights pass to the upstream without credentials, and its CORS headers stay. ${fallback}`,
  })
const EXPOSED_TO_PAGES = 'Response headers that pages may read, besides those of the gateway and of the upstream.'
const CorsLists = {
  allowHeaders: Type.Optional(
    Type.Array(Type.String({ pattern: FIELD_NAME }), {
      description: 'Request headers that pages may send, in mode own. None: all.',
    }),
  ),
  methods: Type.Optional(
    Type.Array(Type.String({ pattern: METHOD }), {
      minItems: 1,
      description: 'Methods that pages may use, in mode own. None: the usual methods, and the other methods of the route.',
    }),
  ),
}
const RouteCors = section(
  {
    mode: Type.Optional(corsMode('None: cors.mode.')),
    exposeHeaders: Type.Optional(
      Type.Array(Type.String({ pattern: FIELD_NAME }), { description: `${EXPOSED_TO_PAGES} None: cors.exposeHeaders.` }),
    ),
    ...CorsLists,
  },
  'Cross-origin requests (CORS) to this route. Lists that are given replace the lists of the section cors.',
)

const networkFile = (what: string) =>
  Type.Optional(
    Type.String({
      minLength: 1,
      description: `${what} A text file with an address or network on each line; # begins a comment. It is read again when it changes.`,
    }),
  )
const Networks = section(
  {
    allow: names('Networks (CIDR) that are allowed. Empty: all.'),
    deny: names('Networks (CIDR) that are refused, even if allow contains them.'),
    allowFile: networkFile('Further networks that are allowed. With a file, all others are refused.'),
    denyFile: networkFile('Further networks that are refused.'),
  },
  'Access by client address.',
)

const HealthStatus = Type.Integer({ minimum: 200, maximum: 599 })

/** Without `*` and without a segment such as `:id`, which other routers read as a pattern. */
const PATH_PREFIX = "^(?!.*/:[A-Za-z_])/[A-Za-z0-9/_.~!$&'()+,=:@-]*$"

export const RouteSchema = strict({
  name: name('Name of the route in logs, metrics and limits.'),
  match: strict(
    {
      path: Type.String({
        pattern: PATH_PREFIX,
        description: 'Path prefix, without wildcards or parameters. It matches whole path segments.',
      }),
      methods: Type.Optional(
        Type.Array(Type.String({ pattern: METHOD }), { minItems: 1, description: 'HTTP methods. None: all methods.' }),
      ),
      host: Type.Optional(
        Type.String({ pattern: '^[A-Za-z0-9._-]+$|^\\[[0-9a-fA-F:]+\\]$', description: 'Host without port. None: any host.' }),
      ),
      caseSensitive: Type.Boolean({
        default: false,
        description: 'Set it to true only if the upstream treats /A and /a as two different paths.',
      }),
    },
    'The requests that belong to this route. The longest matching path wins.',
  ),
  upstream: Type.Array(Upstream, {
    default: [],
    description:
      'Upstream servers: an origin, or an origin with a weight. Healthy upstreams share requests in proportion to their weights. Only a route with forwardAuth needs none.',
  }),
  forwardAuth: Type.Boolean({
    default: false,
    description:
      'Another proxy asks about requests to this route, and forwards them itself. Without an upstream, the gateway forwards none of them.',
  }),
  access: Access,
  limits: Type.Optional(Type.Array(Type.String(), { description: 'Names of limit policies. None: limits.default.' })),
  rewrite: Type.Optional(
    strict(
      { prefix: Type.String({ pattern: '^/[A-Za-z0-9/_.~-]*$', description: 'The prefix that replaces match.path.' }) },
      'Changes the path for the upstream.',
    ),
  ),
  headers: section(
    {
      // a value may be a credential for the upstream: never shown
      request: HeaderEdits('Changes to the headers of requests to the upstream.', { ...FieldValue, writeOnly: true }),
      response: HeaderEdits('Changes to the headers of responses from the upstream.'),
      passReserved: Type.Array(Type.String({ pattern: FIELD_NAME }), {
        default: [],
        description:
          'Names of reserved headers that pass from the client to the upstream, such as CF-IPCountry. The gateway removes all other reserved headers.',
      }),
      forwardAuthorization: Type.Boolean({ default: false, description: "Pass the client's Authorization header to the upstream." }),
      assertion: Type.Boolean({
        default: false,
        description: 'Send X-Auth-Assertion: a JWT that proves the identity of the principal to this upstream only.',
      }),
    },
    'Headers of this route.',
  ),
  networks: Networks,
  cors: RouteCors,
  timeouts: section(
    {
      connectMs: integer(1, 1000, 'Time to open a connection to the upstream.'),
      headersMs: integer(1, 60_000, 'Time until the response headers of the upstream arrive.'),
      idleMs: integer(1, 30_000, 'Time between two parts of a body.'),
      totalMs: integer(0, 0, 'Time for the whole request. 0: no limit.'),
    },
    'Deadlines in milliseconds.',
  ),
  connections: section(
    {
      max: integer(1, 1024, 'Slots of each upstream: requests and streams that it serves at the same time.', 65_535),
      queue: integer(0, 1024, 'Requests that may wait for a slot, in each worker. Further requests get 503.', 1_000_000),
      waitMs: integer(1, 1000, 'How long a request waits for a slot. Then it gets 503.'),
      maxShare: Type.Number({
        minimum: 0.001,
        maximum: 1,
        default: 0.25,
        description:
          'The part of max and of queue that one user, machine client or address may have while others wait; at least 1 request. 1: no limit.',
      }),
      keepAliveMs: integer(
        1,
        1500,
        'How long an idle connection to the upstream is kept. It must be less than the keep-alive time of the upstream, such as 2 s of gunicorn.',
        600_000,
      ),
    },
    'Limits of each upstream.',
  ),
  breaker: section(
    {
      failures: integer(
        0,
        5,
        'Failures in a row after which an upstream counts as unhealthy and gets no requests. A request fails when it finds no connection. 0: never.',
        1000,
      ),
      openAfterMs: integer(
        0,
        10_000,
        'Requests without an answer count as failures when they were for several paths, and nothing at all was answered for this long. For a single path, a new connection decides.',
      ),
      openMs: integer(
        1,
        5000,
        'How long an unhealthy upstream gets no requests. Then it gets one trial request. Each failed trial doubles the time, up to 8 × openMs.',
      ),
      statuses: Type.Array(Type.Integer({ minimum: 500, maximum: 599 }), {
        default: [],
        description: 'Response statuses that also count as failures, such as 503. A malformed response never counts.',
      }),
    },
    'Circuit breaker of each upstream.',
  ),
  retry: section(
    {
      methods: Type.Array(oneOf(['PUT', 'DELETE']), {
        default: [],
        description:
          'Methods that the upstream may get twice. GET, HEAD and OPTIONS are always sent again when a kept connection is lost before an answer. A body of more than 64 KiB is never sent again.',
      }),
    },
    'Requests that are sent again.',
  ),
  balance: oneOf(['roundRobin', 'leastConnections', 'sticky'], {
    default: 'roundRobin',
    description:
      'Which upstream gets a request. roundRobin: in turn, by weight. leastConnections: the upstream with the fewest requests. sticky: always the same upstream for a client.',
  }),
  sticky: section(
    {
      by: oneOf(['cookie', 'address'], {
        default: 'cookie',
        description: 'How a client is known again. cookie: by a cookie of the gateway. address: by its address.',
      }),
    },
    'Settings of balance: sticky.',
  ),
  health: Type.Optional(
    strict(
      {
        path: Type.String({
          pattern: '^/[\\x21\\x22\\x24-\\x7e]*$',
          description: 'Path and query that are asked with GET, as the upstream knows them.',
        }),
        intervalMs: integer(10, 5000, 'Time between two checks, ± 10 %.'),
        timeoutMs: integer(1, 2000, 'Time to connect and to receive the status.'),
        expect: Type.Union([HealthStatus, Type.Array(HealthStatus, { minItems: 1 })], {
          default: [200, 204],
          description: 'Statuses of a healthy upstream. Redirects are not followed.',
        }),
        failures: integer(1, 2, 'Failed checks in a row after which an upstream gets no requests. The first check decides alone.', 1000),
        successes: integer(1, 2, 'Passed checks in a row after which it gets requests again.', 1000),
      },
      'Active health checks of each upstream. Each worker checks on its own.',
    ),
  ),
  body: section({ maxBytes: integer(0, 1_048_576, 'Largest request body in bytes.', Number.MAX_SAFE_INTEGER) }, 'Request body.'),
  allow: Type.Array(oneOf(['encodedSlash', 'doubleSlash', 'semicolon', 'percent']), {
    default: [],
    description: 'Ambiguous forms that are allowed in the path below the prefix. They are refused by default.',
  }),
  websocket: Type.Boolean({ default: false, description: 'Allow WebSocket upgrades.' }),
  browser: section(
    {
      safeMethods: oneOf(['standard', 'strict'], {
        default: 'standard',
        description:
          'strict: for a route whose GET requests have effects. The session cookie then does not count for a navigation that another site began.',
      }),
    },
    'Requests by session cookie.',
  ),
  serviceWorker: Type.Boolean({
    default: false,
    description: 'Let pages of this route install service workers. Never with a scope that covers {auth.prefix}.',
  }),
  compress: Type.Union(
    [
      Type.Boolean(),
      strict({
        withCredentials: Type.Boolean({
          description:
            'Compress also for requests with Cookie, Authorization or X-Api-Key. Safe only if no answer holds both a secret and text of the request (BREACH).',
        }),
      }),
    ],
    {
      default: false,
      description: 'Compress answers that the upstream did not compress (br, zstd, gzip). With true, never for requests with credentials.',
    },
  ),
  preserveHost: Type.Boolean({ default: false, description: "Send the client's Host to the upstream, in place of the upstream's own." }),
  onRedisDown: oneOf(['local', 'open', 'closed'], {
    default: 'local',
    description:
      'While Redis is away. local: each process counts its share of the limit (limit ÷ replicas). open: all requests pass. closed: requests get 503.',
  }),
})

/** The id of a provider. */
export const PROVIDER_ID = '^[a-z][a-z0-9-]{0,31}$'

/** A value of a claim: without control characters. */
const CLAIM_VALUE = '^[^\\u0000-\\u001f\\u007f]+$'

const Provider = strict(
  {
    id: Type.String({ pattern: PROVIDER_ID, description: 'Name in URLs, metrics and the audit log.' }),
    kind: oneOf(['oidc', 'github', 'apple'], { description: 'oidc: OpenID Connect, as Google, Microsoft and Keycloak have it.' }),
    issuer: Type.Optional(
      Type.String({
        pattern: '^https?://[^/?#@\\s]+(/[^?#\\s]*)?$',
        description:
          'Issuer of OpenID Connect, exactly as the provider writes it. None for github and apple: their own. http only on this machine.',
      }),
    ),
    clientId: Type.String({ minLength: 1, maxLength: 512, description: 'The id that the provider gave this gateway.' }),
    clientSecretEnv: Type.Optional(
      Type.String({
        pattern: '^(?!PORTCULLIS_)[A-Z][A-Z0-9_]{0,127}$',
        description:
          'Name of the environment variable that holds the client secret, such as GOOGLE_CLIENT_SECRET. The variable with _FILE appended names a file that holds it. Names with PORTCULLIS_ are settings.',
      }),
    ),
    clientSecretJwt: Type.Optional(
      strict(
        {
          teamId: Type.String({ minLength: 1, maxLength: 64, description: 'Apple: the team.' }),
          keyId: Type.String({ minLength: 1, maxLength: 64, description: 'Apple: the id of the key.' }),
          keyFile: Type.String({
            minLength: 1,
            description: 'Apple: the file of the private key (.p8). The gateway signs and renews the secret.',
          }),
        },
        'For apple, in place of clientSecretEnv.',
      ),
    ),
    scopes: Type.Optional(
      Type.Array(Type.String({ pattern: '^[\\x21\\x23-\\x5b\\x5d-\\x7e]+$' }), {
        minItems: 1,
        uniqueItems: true,
        description: 'What the gateway asks for. None: openid, email, profile; github: read:user, user:email; apple: name, email.',
      }),
    ),
    label: Type.Optional(
      Type.String({ minLength: 1, maxLength: 64, description: 'Name on buttons. None: the name of a well-known provider, or the id.' }),
    ),
    allowedDomains: Type.Array(Type.String({ pattern: '^(\\*|[a-z0-9]([a-z0-9-]*[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+)$' }), {
      default: [],
      uniqueItems: true,
      description:
        'Only users whose address at the provider is of one of these domains may sign in. *: of any domain. Empty: any user, with or without an address of the provider.',
    }),
    trustEmail: Type.Boolean({
      default: false,
      description:
        'An address of allowedDomains that the provider calls verified counts as proven here, and leads to an account with that address. Set it only where nobody can give themselves an address of these domains. Needs allowedDomains.',
    }),
    roles: Type.Optional(
      strict(
        {
          claim: Type.String({
            minLength: 1,
            maxLength: 128,
            description: 'Claim of the ID token: a text or a list of texts, such as groups.',
          }),
          map: Type.Record(Type.String({ pattern: CLAIM_VALUE }), Type.Array(Type.String({ pattern: ROLE_NAME }), { minItems: 1 }), {
            propertyNames: { pattern: CLAIM_VALUE, maxLength: 256 },
            description: 'The roles for each value of the claim. Every role that is named here is granted and revoked at each sign-in.',
          }),
        },
        'Roles that the provider decides about.',
      ),
    ),
    caFile: Type.Optional(
      Type.String({ minLength: 1, description: 'PEM file of the CAs that may sign the certificate of the provider. None: the usual CAs.' }),
    ),
  },
  'A provider that users sign in with.',
)

/** Algorithms with a public key. */
const EXTERNAL_ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'] as const
/** A name, or a JSON Pointer. */
const CLAIM_PATH = '^(?:[^/].*|(?:/(?:[^~/]|~[01])+)+)$'
const HOW_CLAIMS_ARE_NAMED =
  'A claim is named by its name, whatever characters it has; with a leading / it is a JSON Pointer into the claims, such as /realm_access/roles.'
const oneOrMore = <S extends TSchema>(item: S, description: string, options: TSchemaOptions = {}) =>
  Type.Union([item, Type.Array(item, { minItems: 1, uniqueItems: true })], { description, ...options })
const claimMap = (value: TString, description: string) =>
  Type.Optional(
    strict(
      {
        claim: Type.String({ pattern: CLAIM_PATH, maxLength: 256, description: HOW_CLAIMS_ARE_NAMED }),
        map: Type.Record(Type.String({ pattern: CLAIM_VALUE }), Type.Array(value, { minItems: 1 }), {
          propertyNames: { pattern: CLAIM_VALUE, maxLength: 512 },
          description: 'What each value of the claim gives. Other values give nothing.',
        }),
      },
      description,
    ),
  )

const Issuer = strict(
  {
    id: Type.String({
      pattern: '^[a-z][a-z0-9-]{0,31}$',
      description: 'Name in X-Auth-User, as ext:<id>:<sub>, in metrics and in the audit log. Upstreams know the subjects by it.',
    }),
    issuer: Type.String({
      pattern: '^https?://[^/?#@\\s]+(/[^?#\\s]*)?$',
      maxLength: 512,
      description: 'The claim iss of its tokens, exactly as the issuer writes it. http only on this machine.',
    }),
    jwksUri: Type.Optional(
      Type.String({
        pattern: '^https?://[^/?#@\\s]+(/[^#\\s]*)?$',
        description: 'Where its public keys are (JWKS). None: as its OpenID Connect Discovery document says. http only on this machine.',
      }),
    ),
    audience: oneOrMore(
      Type.String({ minLength: 1, maxLength: 512 }),
      'The claim aud that its tokens for this gateway have, or a list: a token names at least one of them.',
    ),
    algorithms: Type.Array(Type.Enum([...EXTERNAL_ALGORITHMS]), {
      minItems: 1,
      uniqueItems: true,
      description: 'The algorithms that it signs with. Only algorithms with a public key.',
    }),
    typ: oneOrMore(
      Type.String({ pattern: '^[A-Za-z0-9+./_-]{1,64}$' }),
      'The header typ of its access tokens, or a list. none: they have no typ. JWT tells no kinds of tokens apart, so ID tokens need another mark: see require.',
      { default: 'at+jwt' },
    ),
    require: Type.Record(
      Type.String({ pattern: CLAIM_PATH, maxLength: 256 }),
      Type.Array(Type.Union([Type.String({ minLength: 1, maxLength: 512 }), Type.Integer(), Type.Boolean()]), { minItems: 1 }),
      {
        propertyNames: { pattern: CLAIM_PATH, maxLength: 256 },
        default: {},
        description: `Claims that its tokens must have, each with one of these values; a list must hold one of them. ${HOW_CLAIMS_ARE_NAMED}`,
      },
    ),
    roles: claimMap(Type.String({ pattern: ROLE_NAME }), 'The roles of this gateway that its tokens give. None: no roles.'),
    scopes: claimMap(
      Type.String({ pattern: '^[\\x21\\x23-\\x5b\\x5d-\\x7e]{1,200}$' }),
      'The scopes that its tokens give, besides those of the roles. A text is split at its blanks.',
    ),
    maxTtlSeconds: integer(1, 3600, 'The longest time from iat to exp. A token with a longer life is refused.', 86_400),
    caFile: Type.Optional(
      Type.String({ minLength: 1, description: 'PEM file of the CAs that may sign the certificate of the issuer. None: the usual CAs.' }),
    ),
    tokenFile: Type.Optional(
      Type.String({
        minLength: 1,
        description:
          'File of a bearer token for jwksUri, such as the service account token of Kubernetes. It is read for each request, so it may change.',
      }),
    ),
  },
  'Another issuer whose access tokens are accepted.',
)

const Acme = strict(
  {
    domains: Type.Array(Type.String({ minLength: 1, maxLength: 300 }), {
      minItems: 1,
      maxItems: 100,
      uniqueItems: true,
      description: 'The names in the certificate, such as api.example.com. Nothing else is ever ordered. No wildcards.',
    }),
    termsOfServiceAgreed: Type.Boolean({ default: false, description: 'You agree to the terms of the ACME server. It must be true.' }),
    email: Type.Optional(
      Type.String({ pattern: '^[^\\s@,?]+@[^\\s@,?]+$', description: 'Contact of the account: some servers send warnings there.' }),
    ),
    directoryUrl: Type.String({
      pattern: '^(letsencrypt|letsencrypt-staging|https://[^\\s"<>#@]+)$',
      default: 'letsencrypt',
      description: 'Directory of the ACME server (RFC 8555): letsencrypt, letsencrypt-staging, or an https URL.',
    }),
    challenges: Type.Array(oneOf(['http-01', 'tls-alpn-01']), {
      minItems: 1,
      uniqueItems: true,
      default: ['http-01'],
      description:
        'How the names are proven. http-01: the server asks on port 80. tls-alpn-01: on port 443. After a failed order the next of the list is tried.',
    }),
    renewBeforeDays: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 365,
        description:
          'Days before the end of the certificate. None: a third of its lifetime; half of a lifetime below 10 days. Never more than half.',
      }),
    ),
    ca: Type.Optional(
      Type.String({
        minLength: 1,
        description: 'PEM file of the CAs that may sign the certificate of the ACME server itself, for a private one. None: the usual CAs.',
      }),
    ),
    eab: Type.Optional(
      strict(
        {
          keyId: Type.String({ minLength: 1, maxLength: 512, description: 'The key id that the ACME server gave you.' }),
          hmacKeyEnv: Type.String({
            pattern: '^(?!PORTCULLIS_)[A-Z][A-Z0-9_]{0,127}$',
            description:
              'Name of the environment variable that holds the HMAC key in base64url, such as ACME_HMAC_KEY. The variable with _FILE appended names a file that holds it.',
          }),
        },
        'External account binding (RFC 8555 §7.3.4), for servers that ask for it.',
      ),
    ),
  },
  "Certificates from an ACME server (RFC 8555), such as Let's Encrypt. They are stored in the database, shared by all gateways, and renewed early.",
)

export const ConfigSchema = Type.Object(
  {
    server: section(
      {
        host: Type.String({ default: '0.0.0.0', description: 'Address of the listener.' }),
        port: port(8080),
        publicUrl: Type.Optional(
          Type.String({
            pattern: '^https?://[^/?#@]+/?$',
            description: 'URL under which clients reach the gateway, such as https://api.example.com. None: localhost and the port.',
          }),
        ),
        workers: Type.Union([oneOf(['auto']), Type.Integer({ minimum: 1, maximum: 1024 })], {
          default: 'auto',
          description:
            'Processes that serve requests. auto: one for each core, but only one with the embedded database or limits in memory.',
        }),
        replicas: integer(1, 1, 'Number of gateways that share one Redis. Local limits are divided by this number.', 10_000),
        trustedProxies: Type.Array(Type.String(), {
          default: [],
          description: 'Networks (CIDR) of trusted proxies. Their forwarding headers are believed.',
        }),
        forwardedBy: oneOf(['x-forwarded', 'forwarded'], {
          default: 'x-forwarded',
          description:
            'Headers that trusted proxies set: X-Forwarded-For, -Proto and -Host, or Forwarded (RFC 7239). The other kind is ignored.',
        }),
        tls: Type.Optional(
          strict(
            {
              cert: Type.Optional(Type.String({ description: 'PEM file: the certificate chain, leaf first.' })),
              key: Type.Optional(Type.String({ description: 'PEM file: the private key.' })),
              acme: Type.Optional(Acme),
              reloadSeconds: integer(
                1,
                10,
                'How often the files are checked, or the database for what ACME has brought. A new certificate needs no restart.',
                86_400,
              ),
              redirectPort: Type.Optional(
                Type.Integer({
                  minimum: 0,
                  maximum: 65535,
                  description: 'Port of a plain HTTP listener that redirects every request to https.',
                }),
              ),
            },
            'HTTPS on this listener, with a certificate from files (cert and key) or from an ACME server (acme).',
          ),
        ),
        httpsOnly: Type.Boolean({
          default: false,
          description:
            'Redirect plain HTTP requests to https (308), also requests that a trusted proxy received over plain HTTP. /health is excepted.',
        }),
        hsts: section(
          {
            maxAgeSeconds: integer(0, 31_536_000, 'How long browsers use only https. 0: the header is not sent.'),
            includeSubDomains: Type.Boolean({ default: false, description: 'Include subdomains.' }),
          },
          'Strict-Transport-Security: sent over https if publicUrl is https.',
        ),
        headersTimeoutMs: integer(1, 10_000, 'Time to receive the header section of a request.'),
        requestTimeoutMs: integer(0, 300_000, 'Time to receive a whole request. 0: no limit.'),
        keepAliveTimeoutMs: integer(1, 72_000, 'How long an idle connection is kept open.'),
        maxConnections: integer(1, 20_000, 'Open client connections, divided among the workers.'),
        maxRequestsPerSocket: integer(
          0,
          10_000,
          'Requests on one connection. Then it is closed, so that a balancer can spread clients anew. 0: no limit.',
        ),
        maxHeaderBytes: integer(1024, 16_384, 'Largest header section in bytes, including the request line.', 1_048_576),
        maxTargetBytes: integer(256, DEFAULT_TARGET_BYTES, 'Longest path and query in bytes. Longer targets get 414.', 1_048_576),
        maxHeaders: integer(10, 200, 'Largest number of header fields.', 10_000),
        shutdownDelayMs: integer(
          0,
          0,
          'After SIGTERM, how long the gateway reports not ready and still serves. Balancers use this time to notice.',
        ),
        shutdownTimeoutMs: integer(0, 25_000, 'After SIGTERM, time to finish the requests in flight.'),
        overload: section(
          {
            maxInFlight: integer(
              0,
              2000,
              'Requests in flight in each worker. Further requests get 503, the least important first. Streams and slow uploads do not count. 0: no limit.',
              1_000_000,
            ),
            maxLoopDelayMs: integer(
              0,
              200,
              'Delay of the event loop above which requests get 503 until it is shorter again. 0: no limit.',
              60_000,
            ),
          },
          'When the gateway refuses requests because it is busy.',
        ),
      },
      'The public listener.',
    ),
    admin: section(
      { host: Type.String({ default: '127.0.0.1', description: 'Address of the listener.' }), port: port(9090) },
      'The listener for /livez, /readyz and /metrics; never public.',
    ),
    database: section(
      {
        url: Type.String({
          writeOnly: true, // it may hold a password: never shown
          default: 'embedded',
          pattern: '^embedded$|^postgres(ql)?://',
          description:
            'embedded, or postgres://…. Several hosts are possible: postgres://user@host1:5432,host2:5432/name. The gateway uses the host that accepts writes.',
        }),
        readUrl: Type.Optional(
          Type.String({
            writeOnly: true,
            pattern: '^postgres(ql)?://',
            description: 'A read replica, for lists of the admin API and audit export only. None: database.url.',
          }),
        ),
        dataDir: Type.String({ default: './data', description: 'Folder of the embedded database.' }),
        poolSize: integer(1, 10, 'Connections to Postgres, divided among the workers. Each worker has at least two.', 1000),
      },
      'Storage of users, sessions and keys.',
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
      'Store of rate limits. Also used for faster revocation.',
    ),
    tokens: section(
      {
        issuer: Type.Optional(Type.String({ pattern: '^https?://[^?#@]+$', description: 'None: server.publicUrl.' })),
        audience: Type.String({ default: 'api', minLength: 1, description: 'The aud claim.' }),
        clientId: Type.String({
          default: 'portcullis',
          pattern: '^[A-Za-z0-9][A-Za-z0-9._~:/-]{0,127}$',
          description:
            "The client_id claim of users' tokens: the gateway's own OAuth client (RFC 9068). After a change, clients refresh once. No UUID: those are machine clients.",
        }),
        typ: oneOf(['at+jwt', 'JWT'], {
          default: 'at+jwt',
          description: 'The typ of access tokens. JWT is for verifiers that refuse at+jwt (RFC 9068). at+jwt is accepted under both.',
        }),
        algorithm: oneOf(['auto', 'ES256', 'EdDSA', 'RS256', 'HS256'], {
          default: 'auto',
          description:
            'Algorithm of new signing keys. auto: that of the existing key; ES256 for an empty database. HS256 keys are not published in the JWKS.',
        }),
        accessTtlSeconds: integer(10, 900, 'Lifetime of an access token.', 86_400),
        refreshTtlSeconds: integer(60, 604_800, 'Lifetime of an unused refresh token.', 31_536_000),
        keyPollSeconds: integer(1, 30, 'How often signing keys are read from the database.', 3600),
        jwksMaxAgeSeconds: integer(0, 300, 'max-age of the JWKS. A new key is published this long before it signs.', 86_400),
        emailClaims: Type.Boolean({
          default: true,
          description: 'Put the claims email, email_verified and preferred_username into access tokens.',
        }),
        claims: Type.Array(
          Type.Object(
            {
              claim: Type.String({
                pattern: '^[A-Za-z][A-Za-z0-9_.:/-]{0,127}$',
                description: 'Name of the claim: a letter, then at most 127 letters, digits and _ . : / -',
              }),
              from: Type.String({
                pattern: '^metadata\\.(public|admin)(\\.[A-Za-z0-9_-]{1,64}){1,8}$',
                description: 'The value, such as metadata.public.plan or metadata.admin.tenant.',
              }),
              header: Type.Optional(
                Type.String({
                  pattern: '^[A-Za-z][A-Za-z0-9-]*$',
                  description: "Identity header that carries the value to upstreams, too. A client's own is removed.",
                }),
              ),
            },
            { additionalProperties: false },
          ),
          {
            default: [],
            maxItems: 32,
            description:
              'Values of users.metadata that access tokens carry: texts, numbers, booleans and lists of texts, at most 1 KiB together.',
          },
        ),
      },
      'Access and refresh tokens.',
    ),
    auth: section(
      {
        prefix: Type.String({
          default: '/auth',
          pattern: '^(/[A-Za-z0-9_.~-]+)+$',
          description: "Path prefix of the gateway's own endpoints.",
        }),
        registration: oneOf(['open', 'invited', 'closed'], {
          default: 'open',
          description:
            'Who may create an account. open: everybody. invited: who has an invitation. closed: nobody. Operators create users in any case. It holds for sign-in with a provider, too.',
        }),
        username: oneOf(['required', 'optional', 'off'], {
          default: 'required',
          description:
            'Whether new accounts have a username. off: no new usernames; existing usernames still log in. Without a username, users log in by e-mail address.',
        }),
        reservedUsernames: Type.Array(Type.String({ pattern: '^[a-z0-9][a-z0-9._-]{2,31}$' }), {
          default: RESERVED_USERNAMES,
          uniqueItems: true,
          description: 'Usernames that users cannot choose themselves. Operators may give them.',
        }),
        emailVerification: oneOf(['off', 'required'], {
          default: 'off',
          description: 'required: the user must open a mailed link to create an account or to change its address.',
        }),
        password: section(
          {
            minLength: integer(8, 12, 'Shortest password, in code points.', 256),
            breachCheck: section(
              {
                enabled: Type.Boolean({ default: false, description: 'Refuse new passwords that are known from breaches.' }),
                url: Type.String({
                  default: 'https://api.pwnedpasswords.com/range/',
                  pattern: '^https?://[^?#@]+/$',
                  description: 'Range API (k-anonymity). The gateway sends it the first five digits of a SHA-1, never more.',
                }),
                timeoutMs: integer(1, 1000, 'Time to wait for the API. Then the password is accepted, with a warning in the log.', 60_000),
              },
              'Check of passwords against known breaches. The built-in list of common passwords is always refused.',
            ),
            argon2: section(
              {
                memoryKiB: integer(1024, 19_456, 'Memory for one hash.', 4_194_304),
                passes: integer(1, 2, 'Iterations.', 100),
                concurrency: integer(1, 2, 'Hashes that are computed at the same time, divided among the workers.', 64),
                queue: integer(0, 64, 'Requests that may wait for a hash, divided among the workers. Further requests get 503.', 100_000),
              },
              'Cost of a password hash.',
            ),
          },
          'Passwords.',
        ),
        refresh: section(
          {
            graceSeconds: integer(0, 30, 'How long a repeated refresh counts as a retry, not as theft.', 300),
            onRetry: oneOf(['repeat', 'reject'], {
              default: 'repeat',
              description:
                'repeat: a retry gets the same successor again. reject: the first request wins, and a retry gets 401 `refresh_superseded`.',
            }),
            onReuse: oneOf(['revokeSession', 'revokeUser'], {
              default: 'revokeSession',
              description: 'What ends when a stolen token is detected: its session, or all sessions of the user.',
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
                description: 'A session ends when it is not refreshed for this time. None: tokens.refreshTtlSeconds.',
              }),
            ),
            absoluteTtlSeconds: integer(60, 2_592_000, 'A session ends after this time, even if it is in use.'),
            maxPerUser: integer(
              0,
              0,
              'Sessions of one user. A further login ends the session with the oldest last use. 0: no limit.',
              10_000,
            ),
          },
          'Sessions.',
        ),
        mfa: section(
          {
            issuer: Type.Optional(
              Type.String({
                pattern: '^[^:\\p{Cc}]{1,64}$',
                description: 'Name that authenticator apps show. None: the host of server.publicUrl.',
              }),
            ),
            requiredForRoles: names('Roles that are valid only in sessions with a second factor. Other sessions get 403 mfa_required.'),
          },
          'Second factor.',
        ),
        passkeys: section(
          {
            enabled: Type.Boolean({ default: false, description: 'Users log in with passkeys (WebAuthn), and use them as second factor.' }),
            rpId: Type.Optional(
              Type.String({
                pattern: '^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$',
                maxLength: 253,
                description:
                  'Host name that passkeys belong to: the host of the pages, or a parent domain. Passkeys of another name no longer work. None: the host of server.publicUrl.',
              }),
            ),
            rpName: Type.Optional(
              Type.String({
                minLength: 1,
                maxLength: 64,
                description: 'Name of the service that browsers show. None: auth.browser.brand.name.',
              }),
            ),
            origins: Type.Array(Type.String({ pattern: ORIGIN }), {
              default: [],
              uniqueItems: true,
              maxItems: 32,
              description:
                'Further origins of pages that use passkeys, such as https://app.example.com. The origin of server.publicUrl is always one.',
            }),
          },
          'Passkeys.',
        ),
        emailLogin: oneOf(['off', 'on'], {
          default: 'off',
          description: 'on: a mailed code or link logs in. It is no second factor, and registers nobody.',
        }),
        newCountry: Type.Optional(
          oneOf(['notify', 'factor', 'deny'], {
            description:
              'A login from a country that the account has not logged in from. notify: the user gets a mail. factor: it also needs the second factor, or a mailed link for an account without one. deny: it is refused. An unknown country counts as new with factor and deny. None: notify with geo.database.',
          }),
        ),
        proofOfWork: section(
          {
            enabled: Type.Boolean({
              default: false,
              description:
                'Registration, mailed links and codes, and logins after failures need a small computation of the client (ALTCHA).',
            }),
            cost: integer(
              1000,
              5000,
              'Rounds of PBKDF2 for each try of the client. The gateway computes as many for each challenge.',
              1_000_000,
            ),
            tries: integer(2, 800, 'Mean number of tries until the client has the answer. Never more than twice as many.', 100_000),
            loginFailures: integer(
              0,
              3,
              'Failed logins of an address in 10 minutes after which a login needs the computation. 0: each login needs it.',
              1000,
            ),
          },
          'Proof of work against programs that try many accounts. No third party is asked.',
        ),
        admin: section(
          {
            maxAuthAgeSeconds: integer(
              60,
              900,
              'An administrator whose last login is older must authenticate again before a change of users, keys or machine clients (RFC 9470). Changes of the own account need a login within 300 seconds.',
              86_400,
            ),
          },
          'Administrators.',
        ),
        apiKeys: section(
          { maxPerUser: integer(0, 50, 'Active API keys of one user. 0: no user may have API keys.', 10_000) },
          'API keys of users.',
        ),
        browser: section(
          {
            enabled: Type.Boolean({ default: false, description: 'Sessions by cookie, and the pages below {prefix}/ui.' }),
            cookieDomain: Type.Optional(
              Type.String({
                pattern: '^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$',
                description:
                  'Domain of the session cookie, such as example.com: one login for its subdomains. Each subdomain can then replace the cookie. None: the host alone.',
              }),
            ),
            origins: Type.Array(Type.String({ pattern: '^https?://([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?$' }), {
              default: [],
              uniqueItems: true,
              description:
                'Other origins whose pages may use the session cookie, such as https://app.example.com. They must be of the same site. CORS with credentials follows from them.',
            }),
            console: oneOf(['admin', 'public', 'off'], {
              description:
                'Where administrators find the console. admin: on the admin listener, below /console. public: below {prefix}/console, only on a host that no route serves.',
              default: 'admin',
            }),
            consoleHosts: Type.Array(
              Type.String({
                pattern: '^([a-z0-9]([a-z0-9._-]*[a-z0-9])?|\\[[0-9a-f:.]+\\])$',
                description: 'In lower case, without a port.',
              }),
              {
                default: [],
                uniqueItems: true,
                description:
                  'Further host names of the console, without ports. Known are localhost, admin.host and the host of server.publicUrl. Other names are refused (DNS rebinding).',
              },
            ),
            brand: section(
              {
                name: Type.Optional(
                  Type.String({
                    minLength: 1,
                    maxLength: 64,
                    description: 'Name of the service on pages and in mails. None: auth.mfa.issuer.',
                  }),
                ),
                logo: Type.Optional(Type.String({ description: 'SVG or PNG file of at most 16 KiB. It is part of each page.' })),
                accent: Type.String({
                  default: '#1f5fbf',
                  pattern: '^#[0-9A-Fa-f]{6}$',
                  description: 'Colour of buttons and links. The text on it is black or white, whichever is easier to read.',
                }),
                homeUrl: Type.Optional(
                  Type.String({
                    pattern: `^(${PAGE_URL}|/(?!/[^/?#]*@)[^\\s"<>]*)$`,
                    description: 'Where the name on each page leads: your application, such as /shop/ or https://app.example.com.',
                  }),
                ),
                supportUrl: Type.Optional(
                  Type.String({
                    pattern: `^(${PAGE_URL}|mailto:[^\\s"<>]+)$`,
                    description: 'Where users find help: a page, or mailto:.',
                  }),
                ),
                css: Type.Optional(Type.String({ description: 'CSS file of at most 16 KiB that is added to the style of the pages.' })),
              },
              'Name and look of pages and mails.',
            ),
            languages: Type.Array(Type.String({ pattern: '^[a-z]{2,3}(-[A-Z]{2})?$' }), {
              default: ['en', 'de'],
              minItems: 1,
              uniqueItems: true,
              description: 'Languages of pages and mails. The first is used for readers of no listed language.',
            }),
            texts: Type.Record(Type.String({ pattern: '^[a-z]{2,3}(-[A-Z]{2})?$' }), Type.String(), {
              propertyNames: { pattern: '^[a-z]{2,3}(-[A-Z]{2})?$' },
              default: {},
              description: 'YAML files of texts, by language. A file replaces single texts, or adds a language.',
            }),
          },
          'Browsers: sessions by cookie, pages and console.',
        ),
        providers: Type.Array(Provider, {
          default: [],
          maxItems: 32,
          description: 'Providers that users sign in with, in the order of their buttons. They need auth.browser.enabled.',
        }),
        roles: Type.Record(
          Type.String({ pattern: ROLE_NAME }),
          Type.Object(
            { inherits: names('Roles that this role includes.'), scopes: names('Scopes that this role grants.') },
            { additionalProperties: false, default: {} },
          ),
          {
            propertyNames: { pattern: ROLE_NAME },
            default: { admin: { inherits: ['user'], scopes: [] }, user: { inherits: [], scopes: [] } },
            description: 'The roles, by name.',
          },
        ),
        cleanup: section(
          {
            intervalSeconds: integer(1, 21_600, 'Time between two runs.'),
            revokedRetentionDays: integer(0, 30, 'Days for which revoked sessions are kept.', 3650),
          },
          'Removal of expired and revoked sessions and tokens.',
        ),
        audit: section(
          {
            sealSeconds: integer(1, 60, 'How often new rows are sealed.', 86_400),
            retentionDays: integer(0, 730, 'Days for which rows are kept. 0: for ever.', 36_500),
          },
          'The audit log of account events.',
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
              'TLS for smtp://. required: mails are sent only over TLS with a valid certificate. optional: TLS is used if the server offers it, without verification. None: required, except for a mail server on this machine.',
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
            register: credentialLimit(3, 60, 'Registrations and new usernames per address.'),
            taken: credentialLimit(10, 600, 'Answers that a username or an e-mail address is taken, per address.'),
            login: credentialLimit(
              5,
              60,
              'Logins per address and account. Failed logins also count in windows that are ten and sixty times as long.',
            ),
            address: credentialLimit(100, 3600, 'Failed logins per address, over all accounts.'),
            account: credentialLimit(30, 3600, 'Failed logins per account, over all addresses. Each known device has its own count.'),
            mfa: credentialLimit(
              5,
              900,
              'Wrong codes per account, counted in the database. Each known device has its own count. They also count in windows that are ten and sixty times as long. After 100 wrong codes in a row, one code a day is checked.',
            ),
            recovery: credentialLimit(10, 3600, 'Requests for mailed links, and uses of them, per address.'),
            mail: credentialLimit(
              5,
              3600,
              'Requested mails to one e-mail address. Verification mails and password mails are counted separately, and so are requests by the owner and by strangers. Alerts to an address that is not proven have the same limit together. Each kind of notice to a proven address has six times the limit. Mails over the limit are not sent.',
            ),
            provider: credentialLimit(60, 600, 'Sign-ins with a provider that are begun or refused, per address.'),
            passkey: credentialLimit(60, 600, 'Passkeys that are refused, per address.'),
            emailLogin: credentialLimit(30, 600, 'Logins by mail that are begun or refused, per address.'),
            refresh: credentialLimit(10, 60, `Failed refreshes per address. ${PACED}`),
            client: credentialLimit(30, 60, `Failed authentications of machine clients, per address. ${PACED}`),
            token: credentialLimit(60, 60, `Access tokens and API keys that fail verification, per address. ${PACED}`),
          },
          'Limits of the endpoints that take credentials. An IPv6 address counts as its /64 and as its /56, and at eight times the limit as its /48.',
        ),
        policies: Type.Record(Type.String({ pattern: POLICY_NAME }), Policy, {
          propertyNames: { pattern: POLICY_NAME },
          default: {},
          description:
            'Named policies. Unless you define them, there are perIp (anonymous, 60 a minute) and perUser (principal, 600 a minute). With auth.browser.enabled their limits are 600 and 3000.',
        }),
        default: Type.Array(Type.String(), {
          default: ['perIp', 'perUser'],
          description: "Policies of routes without limits, and of the gateway's own endpoints.",
        }),
        streams: integer(
          1,
          100,
          'Open WebSockets and event streams in each worker: for one user, or for one address without a token.',
          1_000_000,
        ),
        exempt: Type.Array(Type.String(), {
          default: [],
          description:
            'Networks (CIDR) without address limits. The TCP peer must be in the network, and the request must have no forwarding header.',
        }),
      },
      'Rate limits.',
    ),
    streams: section(
      {
        onExpiry: oneOf(['break', 'finish'], {
          default: 'finish',
          description:
            'When its token expires, a streamed answer is broken off (break), or it goes on for maxOverrunSeconds (finish). WebSockets and EventSources always end. A revoked session or key always ends a stream.',
        }),
        maxOverrunSeconds: integer(0, 300, 'How long a streamed answer may go on after its token has expired.', 86_400),
      },
      'Streams whose token expires.',
    ),
    cors: section(
      {
        origins: Type.Array(Type.String({ pattern: '^\\*$|^https?://[^/?#@]+$' }), { default: [], description: 'Allowed origins, or *.' }),
        credentials: Type.Boolean({ default: false, description: 'Let browsers send cookies and Authorization.' }),
        maxAgeSeconds: integer(0, 600, 'How long browsers may cache a preflight.', 86_400),
        mode: Type.Optional(corsMode('None: own if there are origins, otherwise upstream.')),
        ...CorsLists,
        exposeHeaders: Type.Array(Type.String({ pattern: FIELD_NAME }), { default: [], description: EXPOSED_TO_PAGES }),
      },
      'Cross-origin requests (CORS).',
    ),
    headers: section(
      {
        identity: section(
          {
            user: Type.String({
              default: 'X-Auth-User',
              pattern: '^[A-Za-z][A-Za-z0-9-]*$',
              description: 'Header for the user id (the sub claim). Letters, digits and hyphens.',
            }),
            email: Type.String({
              default: 'X-Auth-Email',
              pattern: '^[A-Za-z][A-Za-z0-9-]*$',
              description: 'Header for the verified e-mail address. Letters, digits and hyphens.',
            }),
            roles: Type.String({
              default: 'X-Auth-Roles',
              pattern: '^[A-Za-z][A-Za-z0-9-]*$',
              description: 'Header for the roles, sorted and separated by commas. Letters, digits and hyphens.',
            }),
            session: Type.String({
              default: 'X-Auth-Session',
              pattern: '^[A-Za-z][A-Za-z0-9-]*$',
              description: 'Header for the session id. Letters, digits and hyphens.',
            }),
            unverifiedEmail: Type.Boolean({ default: false, description: 'Send the e-mail address even if it is not verified.' }),
          },
          'Names of the identity headers.',
        ),
        via: section(
          {
            request: Type.Boolean({
              default: true,
              description: 'Name the gateway in requests. Without Via, nginx compresses its responses.',
            }),
            response: Type.Boolean({ default: false, description: 'Name the gateway in responses.' }),
          },
          'The header Via.',
        ),
      },
      'Headers that the gateway adds.',
    ),
    issuers: Type.Array(Issuer, {
      default: [],
      maxItems: 32,
      description: 'Other issuers whose access tokens routes accept, beside our own.',
    }),
    log: section(
      {
        level: oneOf(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], {
          default: 'info',
          description: 'Lowest level that is logged.',
        }),
        skip: Type.Array(Type.String({ pattern: '^/' }), {
          default: ['/health'],
          description: 'Paths whose successful requests are not logged.',
        }),
        sample: Type.Number({ minimum: 0, maximum: 1, default: 1, description: 'Share of successful requests that are logged.' }),
        path: Type.Boolean({
          default: false,
          description: 'Log the path, without the query, of requests that no route takes (404 route_not_found).',
        }),
      },
      'The log.',
    ),
    geo: section(
      {
        database: Type.Optional(
          Type.String({
            minLength: 1,
            description:
              'File in the MaxMind DB format (.mmdb) that has the countries of addresses. Each worker holds it in memory, and reads it again when it changes.',
          }),
        ),
      },
      'The countries of addresses, for access.countries and auth.newCountry.',
    ),
    reload: section(
      {
        watch: Type.Boolean({
          default: false,
          description:
            'Read the configuration again when its file changes, or a file that it names. SIGHUP and `portcullis reload` do the same at once.',
        }),
      },
      'Changes of the configuration without a restart.',
    ),
    docs: section(
      { enabled: Type.Boolean({ default: true, description: 'Serve /openapi.json and /docs under auth.prefix.' }) },
      'The OpenAPI document and its page.',
    ),
    forwardAuth: Type.Optional(
      strict(
        {
          dialect: oneOf(['nginx', 'traefik', 'caddy', 'haproxy', 'envoy'], {
            description:
              'The proxy that asks: it decides which headers describe the request. nginx, haproxy: X-Original-Method, X-Original-URI and Host. traefik, caddy: X-Forwarded-Method, -Uri, -Host and -Proto. envoy: the request itself, with its path after /verify.',
          }),
        },
        'Endpoint /verify under auth.prefix: proxies of server.trustedProxies ask there whether a request of their client may pass. None: there is no such endpoint.',
      ),
    ),
    routes: Type.Array(RouteSchema, { default: [], description: 'The routes to upstreams.' }),
  },
  { additionalProperties: false, title: 'Portcullis configuration' },
)

type Parsed = Static<typeof ConfigSchema>
export type RouteConfig = Static<typeof RouteSchema>
export type AccessConfig = Static<typeof Access>
export type PolicyConfig = Static<typeof Policy>
export type ProviderConfig = Static<typeof Provider>
export type IssuerConfig = Static<typeof Issuer>

/** Secrets come only from the environment; `check --print` never shows them. */
export interface Secrets {
  secretKey: Buffer | null
  previousSecretKey: Buffer | null
  adminEmail: string | null
  adminPassword: string | null
  /** The client secrets of `auth.providers`, by the id of the provider. */
  providers: Readonly<Record<string, string>>
  /** Of `server.tls.acme.eab`. */
  acmeHmacKey: string | null
}

export type Config = Parsed & {
  server: Parsed['server'] & { publicUrl: string }
  tokens: Parsed['tokens'] & { issuer: string }
}
