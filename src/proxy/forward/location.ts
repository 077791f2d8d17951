/** Where an upstream sends a client: its own address is none of the client's, and its paths may be others than ours. */
import { type Route, rewritePath } from '../routing/route-table.ts'

/** Location and Content-Location (RFC 9110 §10.2.2) among these fields, in place. */
export function rewriteLocations(fields: string[], route: Route): void {
  for (let i = 0; i < fields.length; i += 2)
    if (fields[i] === 'location' || fields[i] === 'content-location') fields[i + 1] = publicLocation(fields[i + 1]!, route)
}

/**
 * In the client's terms: the upstream's own origin goes, and what `rewrite` did to the path is undone. What leads elsewhere, or could be read
 * in two ways, stays as it is.
 */
function publicLocation(value: string, route: Route): string {
  // browsers take \ for / and drop tabs
  if (/[\\\t]/.test(value)) return value
  const path = ownPath(value, route)
  if (path === null) return value
  const told = undoRewrite(path, route) ?? path
  // what is a path here must not become a host there
  return told.startsWith('//') ? `/.${told}` : told
}

/** From the first `/` on, when the value leads to this route's upstreams; else null. */
function ownPath(value: string, { upstreamHosts }: Route): string | null {
  const [, scheme = 'http', host, path] = /^(?:(https?):)?\/\/([^/?#]*)(.*)$/i.exec(value) ?? []
  if (host === undefined) return value.startsWith('/') ? value : null
  const told = URL.canParse(`${scheme}://${host}`) ? new URL(`${scheme}://${host}`).host : ''
  if (!upstreamHosts.has(told)) return null
  return path!.startsWith('/') ? path! : `/${path}`
}

function undoRewrite(path: string, route: Route): string | null {
  if (route.rewritePrefix === null) return null
  const prefix = rewritePath(route, route.path).replace(/\/$/, '')
  const below = path.slice(prefix.length)
  if (!path.startsWith(prefix) || !/^([/?#]|$)/.test(below)) return null
  return `${route.path === '/' ? '' : route.path}${below}` || '/'
}
