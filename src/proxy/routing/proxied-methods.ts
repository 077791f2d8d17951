import { METHODS } from 'node:http'

/** All methods that Node knows, except CONNECT (a tunnel) and TRACE (shows our headers to the client). */
export const PROXIED_METHODS: readonly string[] = METHODS.filter((m) => m !== 'CONNECT' && m !== 'TRACE')
const KNOWN = new Set(PROXIED_METHODS)
export const isProxied = (method: string): boolean => KNOWN.has(method)
