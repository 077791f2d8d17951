/**
 * Keeps descriptors free for the admin listener, the database, Redis and files. Where a process may open fewer files than its connections
 * could need, it takes fewer connections.
 */
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs'

export interface Descriptors {
  /** Connections that are served at a time. */
  connections: number
  /** A connection was accepted. @returns false when too few descriptors are left to serve it */
  admits(socketFd: number): boolean
  /** So few descriptors are free that no request may begin: it could need a connection to its upstream. */
  isScarce(): boolean
  /** For a timer: measures. */
  tick(): void
}

export interface DescriptorsDeps {
  /** What this process may open; null: not known, and nothing is bounded. */
  limit: number | null
  /** Open before the first connection. */
  used: number
  /** For the admin listener, the stores and files. */
  reserved: number
  maxConnections: number
  /** Connections to upstreams at a time; Infinity without a bound. */
  maxInFlight: number
  /** @returns the lowest free descriptor, or null when there is none */
  lowestFree?: () => number | null
}

const LEAST_SERVED = 4
/** Free again before requests may begin. */
const SLACK = 8

/** The kernel always gives the lowest free number: a number near the limit says that all numbers below are in use. */
export function createDescriptors(deps: DescriptorsDeps): Descriptors {
  const { limit, used, reserved, maxConnections, maxInFlight, lowestFree = probe } = deps
  if (limit === null || limit >= used + reserved + maxConnections + Math.min(maxConnections, maxInFlight)) return unbounded(maxConnections)
  const free = limit - used - reserved
  // a request may need a second descriptor, for its upstream
  const served = Math.floor(Math.max(free / 2, free - maxInFlight))
  const scarceFrom = limit - reserved
  let isScarce = false
  return {
    connections: Math.min(maxConnections, Math.max(LEAST_SERVED, served)),
    admits(socketFd) {
      if (socketFd >= scarceFrom) isScarce = true
      return !isScarce
    },
    isScarce: () => isScarce,
    tick() {
      const lowest = lowestFree()
      if (lowest === null || lowest >= scarceFrom) isScarce = true
      else if (lowest < scarceFrom - SLACK) isScarce = false
    },
  }
}

const unbounded = (connections: number): Descriptors => ({ connections, admits: () => true, isScarce: () => false, tick: () => {} })

function probe(): number | null {
  try {
    const fd = openSync('/dev/null', 'r')
    closeSync(fd)
    return fd
  } catch {
    return null
  }
}

/** Of this process. Null where the system has no /proc. */
export function readDescriptors(): { limit: number | null; used: number } {
  try {
    const limit = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
    return { limit: limit === undefined ? null : Number(limit), used: readdirSync('/proc/self/fd').length }
  } catch {
    return { limit: null, used: 0 }
  }
}
