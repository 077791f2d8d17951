/** config/portcullis.yaml is an example with every setting, also with the settings that are only in comments. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { parse } from 'yaml'
import { loadConfig } from '../../../src/app/load-config.ts'
import { ConfigSchema } from '../../../src/platform/config/schema.ts'

const dir = mkdtempSync(join(tmpdir(), 'portcullis-example-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

/** The example with its optional sections: `# url: …` becomes `url: …`. */
const example = readFileSync(new URL('../../../config/portcullis.yaml', import.meta.url), 'utf8').replace(
  /^( *)# ( *(?:- )?[a-zA-Z]+:)/gm,
  '$1$2',
)

interface Schema {
  properties?: Record<string, Schema>
  patternProperties?: Record<string, Schema>
  items?: Schema
  anyOf?: Schema[]
}

/** The paths of all keys with fixed names. An entry of a list is `[]`, and an entry of a record is `*`. */
function keysOf({ properties = {}, patternProperties = {}, items, anyOf = [] }: Schema, path = ''): string[] {
  const fixed = Object.entries(properties).flatMap(([key, schema]) => [`${path}.${key}`, ...keysOf(schema, `${path}.${key}`)])
  const record = Object.values(patternProperties).flatMap((schema) => keysOf(schema, `${path}.*`))
  return [...fixed, ...record, ...(items ? keysOf(items, `${path}[]`) : []), ...anyOf.flatMap((branch) => keysOf(branch, path))]
}

const settings = [...new Set(keysOf(ConfigSchema as Schema))]
const records = new Set(['.auth.roles', '.limits.policies'])

/** The paths of all keys of a value, in the same form. */
function pathsOf(value: unknown, path = ''): string[] {
  if (Array.isArray(value)) return value.flatMap((entry) => pathsOf(entry, `${path}[]`))
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, inner]) => {
    const at = records.has(path) ? `${path}.*` : `${path}.${key}`
    return [at, ...pathsOf(inner, at)]
  })
}

it('the example has every setting of the schema', () => {
  const shown = new Set(pathsOf(parse(example)))
  expect(settings.length).toBeGreaterThan(150)
  expect(settings.filter((setting) => !shown.has(setting))).toEqual([])
})

/** The certificate has one of two sources. */
it.each([
  ['files', ['acme']],
  ['an ACME server', ['cert', 'key']],
])('the example is valid, with the settings that are only in comments, and the certificate from %s', (_source, others) => {
  const file = join(dir, 'portcullis.yaml')
  const config = parse(example)
  for (const other of others) delete config.server.tls[other]
  // JSON is YAML
  writeFileSync(file, JSON.stringify(config))
  expect(loadConfig({ file, env: {}, needSecrets: false }).config.routes.length).toBeGreaterThan(4)
})
