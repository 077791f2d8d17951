/** What a file or a `describe` has from before its first test to after its last. Name what others need first: they are started in this order. */
import { afterAll, afterEach, beforeAll } from 'vitest'
import { type Gateway, type GatewayOptions, startGateway } from './gateway.ts'
import { startUpstream, type Upstream } from './upstream.ts'

/** An object that is empty until the tests begin. */
function fixture<T extends { close(): Promise<void> }>(begin: () => Promise<T>): T {
  const made = {} as T
  let close = async () => {}
  beforeAll(async () => {
    const started = await begin()
    close = () => started.close()
    Object.assign(made, started)
  })
  afterAll(() => close())
  return made
}

/** @param options a function where they depend on what is started before, such as the address of an upstream */
export const useGateway = (options: GatewayOptions | (() => GatewayOptions | Promise<GatewayOptions>) = {}): Gateway =>
  fixture(async () => startGateway(typeof options === 'function' ? await options() : options))

export const useUpstream = (...parameters: Parameters<typeof startUpstream>): Upstream => fixture(() => startUpstream(...parameters))

/** @returns a function that waits for what a test starts, and closes it after the test: the newest first */
export function useKeep(): <T extends { close(): Promise<unknown> }>(starting: Promise<T>) => Promise<T> {
  const opened: { close(): Promise<unknown> }[] = []
  afterEach(async () => {
    for (const it of opened.splice(0).reverse()) await it.close()
  })
  return async (starting) => {
    const it = await starting
    opened.push(it)
    return it
  }
}
