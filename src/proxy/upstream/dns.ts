/**
 * Looks up the names of upstreams again and again: a kept-alive connection would hold on to an address that its name has left.
 * Connections take the addresses of a name in turn.
 */
import type { LookupAddress } from 'node:dns'
import { lookup as systemLookup } from 'node:dns/promises'
import { isIP, type LookupFunction } from 'node:net'

/** As the system resolves: hosts file, then DNS with its own cache and TTLs. */
export type Resolve = (name: string) => Promise<LookupAddress[]>

export interface DnsCache {
  /** For `net.connect`: the addresses of the name, in rotation. */
  lookupOf(name: string): LookupFunction
  /** Calls back when the addresses of a name change. Does nothing for an IP address. @returns stops the calls */
  watch(name: string, onChange: () => void): () => void
  stop(): void
}

const EVERY_MS = 5000
const resolveBySystem: Resolve = (name) => systemLookup(name, { all: true })

interface Known {
  addresses: LookupAddress[]
  turn: number
  /** The look-up that is running. */
  looking: Promise<void> | null
  watchers: (() => void)[]
}

export function createDnsCache(resolve: Resolve = resolveBySystem, everyMs = EVERY_MS): DnsCache {
  const names = new Map<string, Known>()

  async function look(name: string, known: Known): Promise<void> {
    const found = await resolve(name)
    const isOther = textOf(found) !== textOf(known.addresses)
    const isFirst = known.addresses.length === 0
    known.addresses = found
    if (isOther && !isFirst) for (const changed of known.watchers) changed()
  }
  function refresh(name: string, known: Known): Promise<void> {
    known.looking ??= look(name, known).finally(() => {
      known.looking = null
    })
    return known.looking
  }
  // a failing resolver removes nothing: the last answer stays valid
  const timer = setInterval(() => {
    for (const [name, known] of names) refresh(name, known).catch(() => {})
  }, everyMs).unref()

  const knownOf = (name: string): Known => {
    const known = names.get(name) ?? { addresses: [], turn: 0, looking: null, watchers: [] }
    names.set(name, known)
    return known
  }

  return {
    lookupOf: (name) => (_name, options, callback) => {
      const known = knownOf(name)
      const answer = () => {
        const wanted = known.addresses.filter(({ family }) => !options.family || family === options.family)
        if (!wanted.length) return callback(Object.assign(new Error(`no address for ${name}`), { code: 'ENOTFOUND' }), '')
        const at = known.turn++ % wanted.length
        const inTurn = [...wanted.slice(at), ...wanted.slice(0, at)]
        if (options.all) callback(null, inTurn)
        else callback(null, inTurn[0]!.address, inTurn[0]!.family)
      }
      if (known.addresses.length) answer()
      else refresh(name, known).then(answer, (error) => callback(error, ''))
    },
    watch(name, onChange) {
      if (isIP(name)) return () => {}
      const known = knownOf(name)
      known.watchers.push(onChange)
      return () => {
        known.watchers = known.watchers.filter((other) => other !== onChange)
        if (known.watchers.length === 0) names.delete(name)
      }
    },
    stop: () => clearInterval(timer),
  }
}

const textOf = (addresses: readonly LookupAddress[]): string =>
  addresses
    .map(({ address }) => address)
    .sort()
    .join()
