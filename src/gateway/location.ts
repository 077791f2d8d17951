/** Where an upstream sends a client: its own address is none of the client's, and its paths may be others than ours. */
import { type Route, rewritePath } from './routes.ts'

/**
 * A Location or Content-Location (RFC 9110 §10.2.2) in the client's terms: the upstream's own origin goes, and what `rewrite` did to the
 * path is undone. What leads elsewhere, or cannot be read, stays as it is.
 */
export function publicLocation(value: string, route: Route, authority: string): string {
  const path = ownPath(value, route, authority)
  if (path === null) return value
  return undoRewrite(path, route) ?? (path.startsWith('//') ? `/.${path}` : path)
}

/** From the first `/` on, when the value leads to this route's upstreams; else null. */
function ownPath(value: string, { servers }: Route, authority: string): string | null {
  const [, host, path] = /^(?:https?:)?\/\/([^/?#\\]*)([^\\]*)$/i.exec(value) ?? []
  if (host === undefined) return value.startsWith('/') && !value.startsWith('//') && !value.startsWith('/\\') ? value : null
  const isOurs = [authority, ...servers.map(({ origin }) => new URL(origin).host)].some((own) => own === host.toLowerCase())
  if (!isOurs) return null
  return path!.startsWith('/') ? path! : `/${path}`
}

function undoRewrite(path: string, route: Route): string | null {
  if (route.rewritePrefix === null) return null
  const prefix = rewritePath(route, route.path).replace(/\/$/, '')
  const below = path.slice(prefix.length)
  if (!path.startsWith(prefix) || !/^([/?#]|$)/.test(below)) return null
  return `${route.path === '/' ? '' : route.path}${below}` || '/'
}
