/** The routes as rows, for people: for the command `routes` and for the console. */
import type { Config } from '../platform/config/schema.ts'
import { describeLimits } from './rate-limit.ts'
import { compileRoutes } from './routing/route-table.ts'

export type RouteRow = {
  name: string
  /** `*`: any host. */
  host: string
  path: string
  /** `*`: any method. */
  methods: string
  access: string
  /** Such as `certain networks, from AT, DE`. `*`: any client. */
  clients: string
  /** The names of the policies; `-` for none. */
  limits: string
  counts: string
  /** `-`: another proxy asks, and forwards. */
  upstream: string
  websocket: boolean
}

/** By host, the longest path first. A host's own routes are matched before the routes of any host. */
export function describeRoutes(config: Config): RouteRow[] {
  const rows = compileRoutes(config).routes.map((r) => ({
    name: r.name,
    host: r.host ?? '*',
    path: r.path,
    methods: r.methods ? [...r.methods].join(',') : '*',
    access: r.access.label,
    clients: [r.networks && 'certain networks', r.countries?.label].filter(Boolean).join(', ') || '*',
    limits: r.limits.join(',') || '-',
    counts: describeLimits(config.limits, r.limits),
    upstream: r.servers.map((s) => s.origin).join(',') || '-',
    websocket: r.websocket,
  }))
  return rows.sort((a, b) => a.host.localeCompare(b.host) || b.path.length - a.path.length)
}
