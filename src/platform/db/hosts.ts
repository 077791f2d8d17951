/** URLs of Postgres that name several hosts, in the form of libpq: `postgres://h1:5432,h2:5432/name`, or `?host=h1,h2&port=5432,5433`. */

/** Text before the hosts, the hosts, and the text behind them. A user name or password ends at the last `@` before the path. */
const PARTS = /^(postgres(?:ql)?:\/\/(?:[^/?#]*@)?)([^/?#]*)(.*)$/s
const PARAMETER = /[?&](host|port)=([^&#]*)/g

/** A URL for each host, in the order of the list. @throws when the hosts and the ports do not fit each other */
export function hostsOf(url: string): string[] {
  const [, before, authority, behind] = PARTS.exec(url) ?? []
  if (before === undefined || authority === undefined || behind === undefined) return [url]
  const query = new Map(Array.from(behind.matchAll(PARAMETER), ([, name, value]) => [name, decodeURIComponent(value!).split(',')]))
  const hosts = query.get('host') ?? authority.split(',')
  const ports = query.get('port')
  if (ports && ports.length > 1 && ports.length !== hosts.length)
    throw new Error(`${hosts.length} hosts and ${ports.length} ports: name one port, or one for each host`)
  if (hosts.length > 1 && hosts.includes('')) throw new Error('a host is empty')
  return hosts.map((host, i) => {
    const port: Record<string, string> = ports ? { port: ports[i] ?? ports[0]! } : {}
    return query.has('host')
      ? `${before}${authority}${withParameters(behind, { ...port, host })}`
      : `${before}${host}${withParameters(behind, port)}`
  })
}

const withParameters = (behind: string, values: Record<string, string>): string =>
  behind.replace(PARAMETER, (whole, name: string) => (name in values ? `${whole[0]}${name}=${encodeURIComponent(values[name]!)}` : whole))

/** What is wrong with a URL of several hosts, without a part of it: it may hold a password. */
export function problemOfUrl(url: string): string | null {
  try {
    // pg takes both forms without a host: `postgres:///name` and `postgres://user@/name`
    const isUrl = (text: string) => URL.canParse(text) || URL.canParse(text.replace('@/', '@localhost/'))
    const urls = hostsOf(url)
    return urls.length === 1 || urls.every(isUrl) ? null : 'is not an address of Postgres'
  } catch (error) {
    return error instanceof URIError ? 'is not an address of Postgres' : (error as Error).message
  }
}
