/** Stores, gateways, a balancer, an upstream and clients: what most rows begin with. */
import type { Upstream } from '../../support/upstream.ts'
import { type Balancer, startBalancer } from './balancer.ts'
import type { FaultResult, Tally } from './fault-row.ts'
import { type FaultGateway, type GatewaysOptions, promiseHealthy, startGateways } from './gateways.ts'
import { createSuccessors, newSessionClients, type SessionClient, type Successors } from './session-client.ts'
import { type StoreOptions, type Stores, startStores } from './stores.ts'
import { startRowUpstream } from './upstream.ts'

export interface Setting {
  stores: Stores
  gateways: FaultGateway[]
  balancer: Balancer
  upstream: Upstream
  clients: SessionClient[]
  successors: Successors
}

export interface SettingOptions extends Omit<GatewaysOptions, 'databaseUrl' | 'redisUrl' | 'routes'> {
  stores?: StoreOptions
  /** Default: 2. */
  gateways?: number
  clients?: number
  /** How the gateways reach the stores, when not directly. */
  reach?: (stores: Stores) => { databaseUrl?: string; redisUrl?: string } | Promise<{ databaseUrl?: string; redisUrl?: string }>
  routes?: (upstreamUrl: string) => object[]
}

/** `/api` needs a token, `/open` needs none. */
const usualRoutes = (upstreamUrl: string) => [
  { name: 'api', match: { path: '/api' }, upstream: [upstreamUrl], access: 'authenticated' },
  { name: 'open', match: { path: '/open' }, upstream: [upstreamUrl], access: 'public' },
]

export async function startSetting(options: SettingOptions = {}): Promise<Setting> {
  const { stores: storeOptions, gateways: count = 2, clients: clientCount = 0, reach, routes = usualRoutes, ...more } = options
  const [stores, upstream] = await Promise.all([startStores(storeOptions), startRowUpstream()])
  const reached = await reach?.(stores)
  const gateways = await startGateways(count, {
    databaseUrl: stores.databaseUrl,
    redisUrl: stores.redisUrl,
    ...reached,
    ...more,
    routes: routes(upstream.url),
  })
  const balancer = await startBalancer(gateways)
  const successors = createSuccessors()
  const clients = await newSessionClients(clientCount, balancer.url, { successors })
  return { stores, gateways, balancer, upstream, clients, successors }
}

/** No gateway has ended, restarted a worker, or logged an error that nothing handled. */
export async function checkGateways(tally: Tally, gateways: readonly FaultGateway[]): Promise<void> {
  for (const gateway of gateways) {
    promiseHealthy(gateway, tally)
    if (!gateway.isAlive()) continue
    const exits = await gateway.metric('portcullis_worker_exits_total').catch(() => 0)
    tally.promise(!exits, `${exits} workers of ${gateway.name} have ended`)
  }
}

export const resultOf = (what: string, counts: (string | false)[], tally: Tally): FaultResult => ({
  what,
  counts: [...counts, tally.text()].filter(Boolean).join('; '),
  broken: tally.broken,
})
