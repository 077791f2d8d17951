/** A client that keeps an upstream busy does not keep others from it. */
import type { Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { from, newAddress, newUserFrom } from '../../support/addresses.ts'
import { call } from '../../support/client.ts'
import { useKeep } from '../../support/fixtures.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { type RawUpstream, startRawUpstream } from '../../support/raw-upstream.ts'
import { times } from '../../support/times.ts'

const keep = useKeep()
/** Holds each request until it is released. */
async function start(connections: object, config: object = {}) {
  const held: { socket: Socket; path: string }[] = []
  const order: string[] = []
  const upstream: RawUpstream = await keep(
    startRawUpstream((socket, request) => {
      const path = /^GET (\S+)/.exec(request)![1]!
      order.push(path)
      held.push({ socket, path })
    }),
  )
  const gateway = await keep(
    startGateway({
      config: { server: { trustedProxies: ['127.0.0.1/32'] }, limits: { exempt: [] }, ...config },
      routes: [
        {
          name: 'api',
          match: { path: '/' },
          upstream: [upstream.url],
          access: 'public',
          connections: { waitMs: 20_000, ...connections },
        },
      ],
    }),
  )
  const release = async () => {
    const before = order.length
    const waiting = (await inFlight(gateway)) > held.length
    held.shift()!.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    if (waiting) await until(() => order.length > before, 'the next request')
  }
  return { gateway, order, held, release }
}
const inFlight = (gateway: Gateway) => metric(gateway, 'portcullis_http_requests_in_flight')
const areInFlight = (gateway: Gateway, count: number) => until(async () => (await inFlight(gateway)) === count, `${count} requests`)

describe('a route whose slots one client has taken', () => {
  it('gives the next slot to another address, and the rest of the queue is served', async () => {
    const { gateway, order, held, release } = await start({ max: 4, queue: 50 })
    const [mallory, ann] = [newAddress(), newAddress()]
    const many = times(20, (i) => call(gateway, `/mallory-${i}`, { headers: from(mallory) }))
    await areInFlight(gateway, 20)
    const one = call(gateway, '/ann', { headers: from(ann) })
    await areInFlight(gateway, 21)
    await release()
    expect(order.filter((path) => path === '/ann')).toHaveLength(1)
    expect(order.at(-1)).toBe('/ann')
    while (held.length) await release()
    expect((await one).status).toBe(200)
    expect((await Promise.all(many)).map(({ status }) => status)).toEqual(times(20, () => 200))
  })

  it('counts a user over all addresses, and users behind one address apart', async () => {
    const { gateway, order, held, release } = await start({ max: 2, queue: 50 })
    const [mallory, ann, office] = [await newUserFrom(gateway), await newUserFrom(gateway), newAddress()]
    const many = times(8, (i) => call(gateway, `/mallory-${i}`, { token: mallory.token, headers: from(i % 2 ? newAddress() : office) }))
    await areInFlight(gateway, 8)
    const one = call(gateway, '/ann', { token: ann.token, headers: from(office) })
    await areInFlight(gateway, 9)
    await release()
    expect(order.at(-1)).toBe('/ann')
    while (held.length) await release()
    await Promise.all([...many, one])
  })

  it('makes room in a full queue: the client above its share is refused with 503', async () => {
    const { gateway, held, release } = await start({ max: 1, queue: 8 })
    const [mallory, ann] = [newAddress(), newAddress()]
    const many = times(9, (i) => call(gateway, `/mallory-${i}`, { headers: from(mallory) }))
    await areInFlight(gateway, 9)
    const one = call(gateway, '/ann', { headers: from(ann) })
    await until(() => gateway.log().some(({ cause }) => String(cause).includes('more than its share of the queue')), 'a refusal')
    while (held.length) await release()
    expect((await one).status).toBe(200)
    const statuses = (await Promise.all(many)).map(({ status }) => status)
    expect([statuses.filter((s) => s === 200).length, statuses.filter((s) => s === 503).length]).toEqual([8, 1])
  })
})

describe('no share binds', () => {
  it('a client that is alone: it has every slot', async () => {
    const { gateway, order, held, release } = await start({ max: 4, queue: 50 })
    const address = newAddress()
    const many = times(4, () => call(gateway, '/alone', { headers: from(address) }))
    await until(() => order.length === 4, 'four requests at the upstream')
    while (held.length) await release()
    expect((await Promise.all(many)).map(({ status }) => status)).toEqual([200, 200, 200, 200])
  })

  it('the clients of a trusted proxy that does not name them: they are not one client', async () => {
    const { gateway, order, held, release } = await start({ max: 1, queue: 50 })
    // X-Forwarded-For is missing, or names only the proxy
    const unnamed = times(4, (i) => call(gateway, `/unnamed-${i}`, { headers: i % 2 ? {} : from('127.0.0.1') }))
    await areInFlight(gateway, 4)
    const named = call(gateway, '/named', { headers: from(newAddress()) })
    await areInFlight(gateway, 5)
    while (held.length) await release()
    await Promise.all([...unnamed, named])
    expect(order.at(-1)).toBe('/named')
  })

  it('an exempt client', async () => {
    const exempting = { server: { trustedProxies: [] }, limits: { exempt: ['127.0.0.1/32'] } }
    const { gateway, order, held, release } = await start({ max: 1, queue: 50 }, exempting)
    const exempt = times(4, (i) => call(gateway, `/exempt-${i}`))
    await areInFlight(gateway, 4)
    // a forwarding header ends the exemption
    const other = call(gateway, '/other', { headers: from(newAddress()) })
    await areInFlight(gateway, 5)
    while (held.length) await release()
    await Promise.all([...exempt, other])
    expect(order.at(-1)).toBe('/other')
  })
})
