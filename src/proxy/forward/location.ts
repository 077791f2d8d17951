/** Rewrites the locations in responses: an upstream's own address means nothing to the client, and its paths may differ from ours. */
import { type Route, rewritePath } from '../routing/route-table.ts'

/** Rewrites Location and Content-Location (RFC 9110 §10.2.2) among these fields, in place. */
export function rewriteLocations(fields: string[], route: Route): void {
  for (let i = 0; i < fields.length; i += 2)
    if (fields[i] === 'location' || fields[i] === 'content-location') fields[i + 1] = publicLocation(fields[i + 1]!, route)
}

/**
 * The location for the client: the upstream's own origin is removed, and the effect of `rewrite` on the path is undone. A location that
 * leads elsewhere, or has two readings, stays unchanged.
 */
function publicLocation(value: string, route: Route): string {
  // browsers read \ as / and drop tabs
  if (/[\\\t]/.test(value)) return value
  const path = ownPath(value, route)
  if (path === null) return value
  const location = undoRewrite(path, route) ?? path
  // a path must not become a host
  return location.startsWith('//') ? `/.${location}` : location
}

/** The part from the first `/` on, when the value leads to an upstream of this route; else null. */
function ownPath(value: string, { upstreamHosts }: Route): string | null {
  const [, scheme = 'http', host, path] = /^(?:(https?):)?\/\/([^/?#]*)(.*)$/i.exec(value) ?? []
  if (host === undefined) return value.startsWith('/') ? value : null
  const upstreamHost = URL.canParse(`${scheme}://${host}`) ? new URL(`${scheme}://${host}`).host : ''
  if (!upstreamHosts.has(upstreamHost)) return null
  return path!.startsWith('/') ? path! : `/${path}`
}

function undoRewrite(path: string, route: Route): string | null {
  if (route.rewritePrefix === null) return null
  const prefix = rewritePath(route, route.path).replace(/\/$/, '')
  const below = path.slice(prefix.length)
  if (!path.startsWith(prefix) || !/^([/?#]|$)/.test(below)) return null
  return `${route.path === '/' ? '' : route.path}${below}` || '/'
}
