/** Lists the gateway's own endpoints from its router, so that no list must be kept by hand. */
import type { Gateway } from './gateway.ts'

/** Every `METHOD /path` of the server, in the form in which Fastify prints its routes. */
export function ownEndpoints(gateway: Gateway): string[] {
  const above: string[] = []
  return gateway.app
    .router()
    .printRoutes({ commonPrefix: false })
    .split('\n')
    .flatMap((line) => {
      const [, indent, part, methods] = /^([│ ]*)[├└]── (\S*) \((.*)\)$/.exec(line) ?? []
      if (part === undefined) return []
      const depth = indent!.length / 4
      above.length = depth
      above[depth] = part
      const path = above.join('')
      return methods!.split(', ').map((method) => `${method} ${path}`)
    })
    .filter((endpoint) => !/ \/\*?$/.test(endpoint) && !endpoint.startsWith('HEAD '))
}
