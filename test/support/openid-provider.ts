/** Starts `oidc-provider` in a process of its own. */
import { fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

export interface RealProvider {
  issuer: string
  clientId: string
  clientSecret: string
  /** An access token of the client for itself, with the audience `api`. */
  accessToken(): Promise<string>
  /** From now on another key signs. The keys before stay published. */
  rotate(): Promise<void>
  close(): Promise<void>
}

/** @param gateway `{server.publicUrl}{auth.prefix}`. @param id of the provider in the configuration */
export async function startRealProvider({
  gateway,
  id,
  people,
}: {
  gateway: string
  id: string
  people: { sub: string; [claim: string]: unknown }[]
}): Promise<RealProvider> {
  const [clientId, clientSecret] = ['gateway', randomBytes(24).toString('hex')]
  const description = JSON.stringify({ clientId, clientSecret, gateway, id, people })
  const child = fork(fileURLToPath(new URL('./openid-provider.process.ts', import.meta.url)), [description], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const [{ issuer }] = (await once(child, 'message')) as [{ issuer: string }]
  return {
    issuer,
    clientId,
    clientSecret,
    async accessToken() {
      const response = await fetch(`${issuer}/token`, {
        method: 'POST',
        headers: { authorization: `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}` },
        body: new URLSearchParams({ grant_type: 'client_credentials', resource: 'urn:example:api', scope: 'orders.read' }),
      })
      const { access_token } = (await response.json()) as { access_token: string }
      return access_token
    },
    async rotate() {
      const rotated = once(child, 'message')
      child.send('rotate')
      await rotated
    },
    async close() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const gone = once(child, 'exit')
      child.kill('SIGTERM')
      await gone
    },
  }
}
