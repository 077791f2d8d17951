/** Clients from many addresses, behind a gateway that trusts the loopback as its proxy. */
import { randomBytes } from 'node:crypto'
import { call, type TestUser } from './client.ts'
import { type Gateway, metric } from './gateway.ts'

let used = 0
/**
 * A client address that was not used before in this process: 16 million of 10.0.0.0/8, one after the other in different /24 networks. A user who
 * registered from one network is a stranger in the next, whatever ran before.
 */
export function newAddress(): string {
  const n = used++
  return `10.${(n >> 8) & 255}.${n & 255}.${(n >> 16) & 255}`
}

export const from = (address: string) => ({ 'x-forwarded-for': address })

/** Registers a user from an address of its own. */
export async function newUserFrom(gateway: Gateway, address = newAddress()): Promise<TestUser> {
  const username = `far${used}x${randomBytes(4).toString('hex')}`
  const person = { username, email: `${username}@example.com`, password: `plain zebra ${randomBytes(6).toString('hex')}` }
  const { status, body } = await call(gateway, '/auth/register', { body: person, headers: from(address) })
  if (status !== 201) throw new Error(`register answered ${status}: ${JSON.stringify(body)}`)
  return { ...person, id: body.user.id, token: body.access_token, refreshToken: body.refresh_token }
}

const decidedElsewhere = async (gateway: Gateway) => {
  const tiers = ['local', 'database', 'open', 'closed']
  const counts = await Promise.all(tiers.map((tier) => metric(gateway, 'portcullis_limit_decisions_total', { tier })))
  return counts.reduce((a, b) => a + b)
}

/**
 * Runs a scenario with its own identities. A failure counts only if Redis made every decision: on a stalled machine Redis may miss its 50
 * ms.
 */
export async function undisturbed(gateway: Gateway, scenario: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const before = await decidedElsewhere(gateway)
    try {
      return await scenario()
    } catch (error) {
      if (attempt === 5 || (await decidedElsewhere(gateway)) === before) throw error
    }
  }
}
