import { expect, it } from 'vitest'
import { type Setting, settingsOf } from '../../../src/app/console/configuration.pages.ts'
import { ConfigSchema } from '../../../src/platform/config/schema.ts'
import { withoutSecrets } from '../../../src/platform/config/shown.ts'
import { createTexts } from '../../../src/platform/texts/texts.ts'
import { createPipeline, type PipelineDeps } from '../../../src/proxy/pipeline.ts'
import { configWith, route } from '../../support/config.ts'

const settings = (part: object): Map<string, Setting> =>
  new Map(
    settingsOf(withoutSecrets(configWith(part)), ConfigSchema as Parameters<typeof settingsOf>[1]).map((setting) => [
      setting.path,
      setting,
    ]),
  )

it('every setting has its path, its value, and whether it is the default', () => {
  const shown = settings({ server: { port: 8443 }, log: { level: 'warn' } })
  expect(shown.get('server.port')).toEqual({ path: 'server.port', value: '8443', isDefault: false })
  expect(shown.get('log.level')).toMatchObject({ value: '"warn"', isDefault: false })
  expect(shown.get('server.host')).toEqual({ path: 'server.host', value: '"0.0.0.0"', isDefault: true })
  expect(shown.get('auth.browser.enabled')).toMatchObject({ value: 'false', isDefault: true })
  expect(shown.get('auth.password.argon2.memoryKiB')?.isDefault ?? true).toBe(true)
})

it('each route has settings of its own, and knows its defaults', () => {
  const shown = settings({ routes: [route('/a'), route('/b', { access: { roles: ['admin'] } })] })
  expect(shown.get('routes[0].match.path')).toMatchObject({ value: '"/a"', isDefault: false })
  expect(shown.get('routes[0].websocket')).toMatchObject({ value: 'false', isDefault: true })
  expect(shown.get('routes[1].access')).toMatchObject({ value: '{"roles":["admin"]}', isDefault: false })
  expect(shown.get('limits.credentials.login.limit')).toMatchObject({ isDefault: true })
})

it('no secret and no password of an address is shown', () => {
  const shown = settings({
    database: { url: 'postgres://gateway:hunter2@db.test/portcullis' },
    redis: { url: 'rediss://:hunter3@redis.test' },
  })
  const all = [...shown.values()].map(({ value }) => value).join('\n')
  expect(all).not.toMatch(/hunter\d/)
  expect(shown.get('database.url')!.value).toContain('db.test')
})

it.each(['en', 'de'])('each stage of the pipeline has a name in %s', (code) => {
  const { find } = createTexts(['en', 'de']).of(code)
  const { stages } = createPipeline({} as PipelineDeps)
  expect(stages.filter((stage) => find(`why.stage.${stage}`) === null)).toEqual([])
})
