import { describe, expect, it } from 'vitest'
import { ConfigSchema } from '../../../src/platform/config/schema.ts'
import { withoutSecrets } from '../../../src/platform/config/shown.ts'
import { configWith, route } from '../../support/config.ts'

const shown = (part: object): any => withoutSecrets(configWith(part))

describe('the configuration as it is shown', () => {
  it.each([
    ['in its usual place', 'postgres://gate:s3cr3t@db:5432/portcullis', 'postgres://gate:***@db:5432/portcullis'],
    ['without a user', 'postgres://:s3cr3t@db/portcullis', 'postgres://:***@db/portcullis'],
    ['of a user who is an e-mail address', 'postgres://ann@example.com:s3cr3t@db/p', 'postgres://ann@example.com:***@db/p'],
    ['with an @ in it', 'postgres://gate:s3cr3t@s3cr3t@db/p', 'postgres://gate:***@db/p'],
    ['with / and : and ? in it', 'postgres://gate:s3/cr:3t?s3cr3t@db/p', 'postgres://gate:***@db/p'],
    [
      'as a parameter',
      'postgres://db/p?user=gate&password=s3cr3t&sslmode=require',
      'postgres://db/p?user=gate&password=***&sslmode=require',
    ],
    ['of the key', 'postgres://db/p?sslpassword=s3cr3t', 'postgres://db/p?sslpassword=***'],
    ['under a name in percents', 'postgres://db/p?p%61ssword=s3cr3t', 'postgres://db/p?p%61ssword=***'],
    ['that is none: no credentials', 'postgres://gate@db:5432/p?sslmode=require', 'postgres://gate@db:5432/p?sslmode=require'],
  ])('hides the password of a URL %s', (_, url, expected) => {
    expect(shown({ database: { url } }).database.url).toBe(expected)
  })

  it('hides it of every store and of the mail server, and keeps what is no secret', () => {
    const { database, redis, mail } = shown({
      redis: { url: 'redis+cluster://gate:s3cr3t@a:1,gate:s3cr3t@b:2' },
      mail: { url: 'smtp://ann@example.com:s3cr3t@mail.example.com:587', from: 'Example <no-reply@example.com>' },
    })
    expect(database.url).toBe('embedded')
    expect(redis.url).toBe('redis+cluster://gate:***@b:2')
    expect(mail).toEqual({ url: 'smtp://ann@example.com:***@mail.example.com:587', from: 'Example <no-reply@example.com>' })
  })

  it('hides what upstreams know us by, and the password of any URL that is not a setting for secrets', () => {
    const config = configWith({
      routes: [route('/a', { headers: { request: { set: { 'X-Api-Key': 's3cr3t' } }, response: { set: { 'X-Shown': 'yes' } } } })],
    })
    // the loader refuses it
    config.auth.password.breachCheck.url = 'https://us:s3cr3t@range.example.com/'
    const { routes, auth } = withoutSecrets(config) as any
    expect(routes[0].headers).toMatchObject({ request: { set: { 'X-Api-Key': '***' } }, response: { set: { 'X-Shown': 'yes' } } })
    expect(auth.password.breachCheck.url).toBe('https://us:***@range.example.com/')
    expect(routes[0]).toMatchObject({ match: { path: '/a' }, upstream: ['http://127.0.0.1:9'], access: 'public' })
  })

  interface Schema {
    writeOnly?: boolean
    properties?: Record<string, Schema>
    patternProperties?: Record<string, Schema>
    items?: Schema
    anyOf?: Schema[]
  }
  /** A value that has `secret` wherever the schema is marked, and how often that is. */
  function filled(schema: Schema): { value: unknown; count: number } {
    if (schema.writeOnly) return { value: 's3cr3t', count: 1 }
    const entries = [
      ...Object.entries(schema.properties ?? {}),
      ...Object.values(schema.patternProperties ?? {}).map((inner) => ['any-name', inner] as const),
    ].map(([key, inner]) => [key, filled(inner)] as const)
    if (entries.length)
      return {
        value: Object.fromEntries(entries.map(([key, { value }]) => [key, value])),
        count: entries.reduce((n, [, e]) => n + e.count, 0),
      }
    if (schema.items) {
      const { value, count } = filled(schema.items)
      return { value: [value], count }
    }
    const branches = (schema.anyOf ?? []).map(filled)
    return branches.find(({ count }) => count > 0) ?? { value: 'plain', count: 0 }
  }

  it('hides every setting that the schema marks, wherever that is: no later one can be forgotten', () => {
    const { value, count } = filled(ConfigSchema as Schema)
    expect(count).toBeGreaterThanOrEqual(4)
    const text = JSON.stringify(withoutSecrets(value as never))
    expect(text).not.toContain('s3cr3t')
    expect(text.match(/\*\*\*/g)).toHaveLength(count)
    expect(text).toContain('plain')
  })
})
