/**
 * portcullis-client.d.ts describes each function.
 * @import { Client, ClientOptions } from './portcullis-client.d.ts'
 * @typedef {{ version: number, isIn: boolean, tokens?: { access: string, refresh: string, refreshAt: number } }} State
 */

/** Between the attempts of a refresh. The gateway repeats a lost answer for some seconds. */
const RETRY_DELAYS_MS = [300, 1500, 4000]
const TIMEOUT_MS = 10_000
/** How long another tab has to hand over newer tokens. */
const PEER_TIMEOUT_MS = 200
/** RFC 9110 §9.2.2 */
const IDEMPOTENT = /^(GET|HEAD|OPTIONS|PUT|DELETE)$/

export class PortcullisError extends Error {
  constructor({ status, headers }, { code = `http_${status}`, detail = code, errors = [], request_id }) {
    super(detail)
    Object.assign(this, {
      name: 'PortcullisError',
      code,
      status,
      detail,
      errors,
      requestId: request_id,
      retryAfterSeconds: retryAfter(headers),
    })
  }
}

/** @param {ClientOptions} [options] @returns {Client} */
export function createClient({
  baseUrl = globalThis.location?.origin,
  prefix = '/auth',
  mode = globalThis.location ? 'cookie' : 'token',
  fetch: send = (input, init) => fetch(input, init),
  storage,
  maxRetryAfterSeconds = 10,
} = {}) {
  const { origin } = new URL(/** @type {string} */ (baseUrl))
  const isCookie = mode === 'cookie'
  const events = new EventTarget()
  const name = `portcullis ${mode} ${origin}${prefix}`
  // clients in one process without tabs may belong to different users
  const channel = globalThis.location && globalThis.BroadcastChannel ? new BroadcastChannel(name) : null
  const locks = globalThis.location && navigator.locks

  /** @type {State} */
  let state = { version: 0, isIn: false }
  let started, refreshing
  let heardNewer = () => {}

  async function adopt(next) {
    const { isIn, version } = state
    if (next.version <= version) return
    state = next
    heardNewer()
    if (isIn !== state.isIn) events.dispatchEvent(new Event(isIn ? 'loggedout' : 'loggedin'))
    await (state.tokens ? storage?.setItem(name, `${state.version} ${state.tokens.refresh}`) : storage?.removeItem(name))
  }

  /** In all tabs: they share one clock. Without an answer: logged out. */
  async function change(answer) {
    const tokens = answer?.refresh_token && {
      access: answer.access_token,
      refresh: answer.refresh_token,
      // counted from now, so that a wrong clock does not matter
      refreshAt: Date.now() + answer.expires_in * 1000 - Math.min(30_000, answer.expires_in * 100),
    }
    const kept = adopt({ version: Math.max(Date.now(), state.version + 1), isIn: Boolean(answer), tokens })
    channel?.postMessage(state)
    await kept
  }

  if (channel)
    channel.onmessage = ({ data }) => {
      if (data !== 'ask') void adopt(data)
      else if (state.tokens) channel.postMessage(state)
    }

  /** Takes over what another tab or the storage has. */
  async function catchUp() {
    if (channel)
      await new Promise((resolve) => {
        heardNewer = () => resolve(undefined)
        setTimeout(resolve, PEER_TIMEOUT_MS)
        channel.postMessage('ask')
      })
    const [version, refresh] = (await storage?.getItem(name))?.split(' ') ?? []
    if (refresh) await adopt({ version: Number(version), isIn: true, tokens: { access: '', refresh, refreshAt: 0 } })
  }

  /** One tab at a time. Without Web Locks (plain http), the gateway repeats its answer. */
  const alone = (work) => (locks ? locks.request(name, work) : work())

  async function accessToken() {
    if (isCookie) return
    if (!state.tokens) {
      started ??= catchUp()
      await started
    }
    if (state.tokens && Date.now() >= state.tokens.refreshAt) await refresh(state.tokens.access)
    return state.tokens?.access
  }

  function refresh(stale) {
    refreshing ??= alone(async () => {
      await catchUp()
      const old = state.tokens
      if (old && old.access === stale) await exchange(old)
    }).finally(() => {
      refreshing = undefined
    })
    return refreshing
  }

  async function exchange(old) {
    for (let attempt = 0; ; attempt++) {
      try {
        const answer = await call('POST', '/refresh', { refresh_token: old.refresh })
        if (state.tokens === old) await change(answer)
        return
      } catch (/** @type {any} */ error) {
        const { status, code, retryAfterSeconds } = error
        if (code === 'refresh_superseded') await catchUp()
        if (state.tokens !== old) return
        if (status === 401) return change()
        const delay = RETRY_DELAYS_MS[attempt]
        const isFinal = status && status < 500 && status !== 429
        if (isFinal || delay === undefined || Number(retryAfterSeconds) > maxRetryAfterSeconds) throw error
        await sleep(Math.max(delay, (retryAfterSeconds ?? 0) * 1000))
      }
    }
  }

  async function call(method, path, body, access) {
    const response = await send(origin + prefix + path, {
      method,
      headers: { ...(body && { 'content-type': 'application/json' }), ...(access && { authorization: `Bearer ${access}` }) },
      body: body && JSON.stringify(body),
      credentials: isCookie ? 'include' : 'omit',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
    return read(response)
  }

  /** Opens or replaces a session. */
  async function enter(path, input, needsAccess = false) {
    const access = needsAccess ? await accessToken() : undefined
    const answer = await call('POST', path, isCookie ? { ...input, session: 'cookie' } : input, access)
    if (answer?.user || answer?.access_token) await alone(() => change(answer))
    const { access_token, refresh_token, token_type, expires_in, ...rest } = answer ?? {}
    return rest
  }

  async function logout() {
    if (isCookie) {
      await call('DELETE', '/session')
      return change()
    }
    await alone(async () => {
      await catchUp()
      const { tokens } = state
      await change()
      if (tokens) await call('POST', '/logout', { refresh_token: tokens.refresh })
    })
  }

  async function session() {
    if (!isCookie) {
      if (!(await accessToken())) return null
      const response = await authorizedFetch(`${prefix}/me`)
      return response.status === 401 ? null : { user: await read(response) }
    }
    const { version } = state
    const found = await call('GET', '/session').catch((error) => {
      if (error.status !== 401) throw error
    })
    const isIn = Boolean(found)
    // an answer to a request from before a login says nothing about the login
    if (version === state.version && isIn !== state.isIn) await adopt({ version: version + 1, isIn })
    return found ?? null
  }

  /** @type {Client['fetch']} */
  async function authorizedFetch(input, init = {}) {
    const request = input instanceof Request ? input : undefined
    const url = new URL(request?.url ?? String(input), origin)
    if (url.origin !== origin) throw new TypeError(`${url.origin} is not the gateway ${origin}`)
    const method = (init.method ?? request?.method ?? 'GET').toUpperCase()
    const isRepeatable = request && !init.body ? /^(GET|HEAD)$/.test(method) : !isStream(init.body)
    for (let waits = 0, hasRefreshed = false; ; ) {
      const headers = new Headers(init.headers ?? request?.headers)
      const access = headers.has('authorization') ? undefined : await accessToken()
      if (access) headers.set('authorization', `Bearer ${access}`)
      const response = await send(request ?? url.href, { ...init, headers, ...(isCookie && { credentials: 'include' }) })
      if (response.status === 401 && (access || isCookie) && (await isTokenRefused(response))) {
        if (isCookie && state.isIn) await session().catch(() => {})
        if (!access || hasRefreshed) return response
        hasRefreshed = true
        if (access === state.tokens?.access) await refresh(access)
        if (!state.tokens || !isRepeatable) return response
      } else {
        const seconds = retryAfter(response.headers) ?? Number.POSITIVE_INFINITY
        const mayWait = (response.status === 429 || response.status === 503) && seconds <= maxRetryAfterSeconds && waits++ < 2
        if (!mayWait || !isRepeatable || !IDEMPOTENT.test(method)) return response
        await sleep(seconds * 1000, init.signal ?? request?.signal)
      }
      await response.body?.cancel()
    }
  }

  /** @type {Client['webSocket']} */
  async function webSocket(url, protocols = []) {
    const target = new URL(url, origin)
    target.protocol = target.protocol.replace('http', 'ws')
    if (target.origin !== origin.replace('http', 'ws')) throw new TypeError(`${target.origin} is not the gateway ${origin}`)
    const access = await accessToken()
    const offered = [protocols].flat().concat(access ? ['portcullis', `portcullis.bearer.${access}`] : [])
    const socket = new WebSocket(target.href, offered)
    // 4401: the session or the token has ended
    socket.addEventListener('close', ({ code }) => void (code === 4401 && session().catch(() => {})))
    return socket
  }

  return {
    login: (input) => enter('/login', input),
    loginMfa: (input) => enter('/login/mfa', input),
    register: (input) => enter('/register', input),
    reauthenticate: (input) => enter('/reauthenticate', input, true),
    changePassword: (input) => enter('/password/change', input, true),
    logout,
    session,
    fetch: authorizedFetch,
    webSocket,
    loginUrl: (returnTo = globalThis.location?.href) =>
      `${origin}${prefix}/ui/login${returnTo ? `?return_to=${encodeURIComponent(returnTo)}` : ''}`,
    addEventListener: events.addEventListener.bind(events),
    removeEventListener: events.removeEventListener.bind(events),
    close: () => channel?.close(),
  }
}

async function read(response) {
  if (!response.ok) throw new PortcullisError(response, await response.json().catch(() => ({})))
  return response.status === 204 ? undefined : response.json()
}

/** The gateway refuses the credential; other reasons for 401 need the user. */
async function isTokenRefused(response) {
  if (!response.headers.get('content-type')?.includes('problem+json')) return false
  const { code } = await response.clone().json()
  return String(code).startsWith('token_')
}

/** In seconds. */
function retryAfter(headers) {
  const value = headers.get('retry-after')
  if (!value) return undefined
  const seconds = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - (Date.parse(headers.get('date') ?? '') || Date.now())) / 1000
  return Number.isNaN(seconds) ? undefined : Math.max(0, seconds)
}

/** It cannot be sent twice. */
const isStream = (body) => body instanceof ReadableStream || Symbol.asyncIterator in Object(body)

const sleep = (ms, signal) =>
  new Promise((resolve, reject) => {
    signal?.throwIfAborted()
    setTimeout(resolve, ms)
    signal?.addEventListener('abort', () => reject(signal.reason))
  })
