/**
 * Service workers. An upstream's script has the origin of our pages, and a service worker answers for every page in its scope: it can send
 * requests as the user, which the origin rule cannot tell from the user's own.
 */
import type { IncomingMessage } from 'node:http'
import type { Config } from '../../platform/config/schema.ts'
import { type Problem, problem } from '../../platform/lib/errors.ts'
import type { Routed } from './exchange.ts'

/** Service Workers §5.3: only the fetch of the script of a service worker has this field, and no page can set it. */
export const asksForServiceWorker = ({ headers }: IncomingMessage): boolean => headers['service-worker'] !== undefined

/**
 * The widest scope of a script is its own folder: without Service-Worker-Allowed, which is dropped from answers.
 * @param folder ends with a slash @param prefix of the gateway's own pages, without a final slash
 */
export const covers = (folder: string, prefix: string): boolean => `${prefix}/`.toLowerCase().startsWith(folder.toLowerCase())

export type AssertServiceWorker = (exchange: Routed, request: IncomingMessage) => void

/** A stage: refuses the script of a service worker where the route does not allow it, or where it would control our own pages. */
export function createAssertServiceWorker({ auth }: Pick<Config, 'auth'>): AssertServiceWorker {
  if (!auth.browser.enabled) return () => {}
  return ({ route, target }, request) => {
    if (!asksForServiceWorker(request)) return
    if (!route.serviceWorker) throw serviceWorkerRefused(`route ${route.name} allows none`)
    const folder = target.path.slice(0, target.path.lastIndexOf('/') + 1)
    if (covers(folder, auth.prefix)) throw serviceWorkerRefused(`its scope would cover ${auth.prefix}`)
  }
}

export const serviceWorkerRefused = (cause: string): Problem =>
  problem('forbidden', { detail: 'A service worker may not be installed from this address.', cause })
