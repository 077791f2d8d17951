/** Who decides about requests of other origins (CORS), compiled once at start. */
import type { Config, RouteConfig } from '../../platform/config/schema.ts'

export interface CorsRule {
  /** True: the gateway decides. False: the upstream decides, and the gateway only makes its own errors readable. */
  isOwn: boolean
  /** The value of Access-Control-Expose-Headers. */
  exposed: string
  /** The value of Access-Control-Allow-Headers. Null: whatever the page asks for. */
  headers: string | null
  /** The value of Access-Control-Allow-Methods. Null: the usual methods, and the other methods that the route lists. */
  methods: string | null
}

const EXPOSED = ['x-request-id', 'retry-after', 'ratelimit', 'ratelimit-policy']

type Settings = Pick<Config, 'cors' | 'auth'>

export const compileCors = (config: Settings, route: RouteConfig['cors']): CorsRule => compileRule(config.cors, route, modeOf(config))

const compileRule = (top: Config['cors'], route: RouteConfig['cors'], mode: CorsMode): CorsRule => ({
  isOwn: (route.mode ?? mode) === 'own',
  exposed: [...EXPOSED, ...(route.exposeHeaders ?? top.exposeHeaders)].join(', '),
  headers: (route.allowHeaders ?? top.allowHeaders)?.join(', ') ?? null,
  methods: (route.methods ?? top.methods)?.join(', ') ?? null,
})

type CorsMode = 'own' | 'upstream'

export const modeOf = (config: Settings): CorsMode => {
  const { mode, origins } = config.cors
  return mode ?? (origins.length > 0 || sessionOriginsOf(config).length > 0 ? 'own' : 'upstream')
}

/** The origins whose pages use the session cookie: they are let in with credentials. */
export const sessionOriginsOf = ({ auth: { browser } }: Settings): readonly string[] => (browser.enabled ? browser.origins : [])

/** The response fields of CORS that the gateway alone sets. Access-Control-Expose-Headers is united with the upstream's. */
export const CORS_FIELDS: ReadonlySet<string> = new Set([
  'access-control-allow-origin',
  'access-control-allow-credentials',
  'access-control-allow-methods',
  'access-control-allow-headers',
  'access-control-allow-private-network',
  'access-control-allow-local-network',
  'access-control-max-age',
])
