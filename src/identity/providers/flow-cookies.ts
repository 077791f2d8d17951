/** The cookies of sign-ins on their way: one for each, so that several tabs may sign in at once. */
import type { IncomingMessage } from 'node:http'
import { cookieNameOf, trimBlanks } from '../../platform/http/cookies.ts'
import type { Client } from '../../platform/request/client-address.ts'
import type { CrossSite } from '../access/cross-site.ts'
import { flowCookieName, isFlowCookieName } from '../access/page-cookie-names.ts'
import { FLOW_SECONDS, flowTag, isFlowText } from './flows.ts'
import type { Provider } from './provider.ts'

export interface FlowCookies {
  /** The headers `Set-Cookie` of a new flow. The oldest flows beyond the limit end. */
  toSet(request: IncomingMessage, client: Client, provider: Provider, flow: KeptFlow & { state: string }): string[]
  /** What this browser keeps for a flow; null without it. */
  read(request: IncomingMessage, client: Client, state: string | null): KeptFlow | null
  toClear(client: Client, state: string): string
}

export interface KeptFlow {
  secret: string
  /** The cookie of the device does not come with a navigation that another site began. */
  deviceToken?: string | undefined
}

/** When it began, in seconds; the secret; the token of the device. */
const VALUE = /^\d{1,12}\.([A-Za-z0-9_-]{43})(?:\.([A-Za-z0-9_-]{1,64}))?$/

/** Tabs of one browser that sign in at the same time. */
const MAX_FLOWS = 8

/** @param now seconds */
export function createFlowCookies({ isSecure }: Pick<CrossSite, 'isSecure'>, authPrefix: string, now: () => number): FlowCookies {
  function header(name: string, value: string, life: number, client: Client, isFormPost: boolean): string {
    // the prefix `__Host-` needs the path of all; no upstream gets the cookie
    const path = isSecure(client) ? '/' : `${authPrefix}/providers`
    // a form that another site posts brings only cookies with `SameSite=None`
    const sameSite = isFormPost ? 'None' : 'Lax'
    const secure = isSecure(client) || isFormPost ? '; Secure' : ''
    return `${name}=${value}; Path=${path}; Max-Age=${life}; HttpOnly; SameSite=${sameSite}${secure}`
  }

  /** Name, and when the flow began. The oldest comes first. */
  function flowsIn({ headers }: IncomingMessage): string[] {
    const found = new Map<string, number>()
    for (const part of (headers.cookie ?? '').split(';')) {
      const pair = trimBlanks(part)
      const name = cookieNameOf(pair)
      if (isFlowCookieName(name)) found.set(name, Number.parseInt(pair.slice(name.length + 1), 10) || 0)
    }
    return [...found].sort(([, a], [, b]) => a - b).map(([name]) => name)
  }

  return {
    toSet(request, client, { isFormPost }, { state, secret, deviceToken }) {
      const value = [Math.floor(now()), secret, ...(deviceToken === undefined ? [] : [deviceToken])].join('.')
      const open = flowsIn(request)
      const surplus = open.slice(0, Math.max(0, open.length - MAX_FLOWS + 1))
      return [
        header(flowCookieName(flowTag(state), isSecure(client)), value, FLOW_SECONDS, client, isFormPost),
        ...surplus.map((name) => header(name, '', 0, client, isFormPost)),
      ]
    },
    read({ headers }, client, state) {
      if (!isFlowText(state)) return null
      const name = flowCookieName(flowTag(state), isSecure(client))
      const pairs = (headers.cookie ?? '').split(';').map(trimBlanks)
      const values = pairs.filter((pair) => cookieNameOf(pair) === name).map((pair) => pair.slice(name.length + 1))
      const [, secret, deviceToken] = (values.length === 1 ? VALUE.exec(values[0]!) : null) ?? []
      return secret === undefined ? null : { secret, deviceToken }
    },
    toClear: (client, state) => header(flowCookieName(flowTag(state), isSecure(client)), '', 0, client, false),
  }
}
