/** `config/portcullis.schema.json` for editors and `docs/configuration.md` for readers, from the one schema. */
import { ConfigSchema } from '../config/schema.ts'
import { code, row } from './markdown.ts'

interface Schema {
  type?: string
  enum?: unknown[]
  anyOf?: Schema[]
  properties?: Record<string, Schema>
  patternProperties?: Record<string, Schema>
  items?: Schema
  required?: string[]
  default?: unknown
  description?: string
  pattern?: string
  minimum?: number
  maximum?: number
  minItems?: number
}

const root = JSON.parse(JSON.stringify(ConfigSchema)) as Schema

/** Makes properties with a default optional. TypeBox requires them, because it fills in defaults before validation. */
function forFiles({ required, properties, patternProperties, items, anyOf, ...rest }: Schema): Schema {
  const each = (schemas: Record<string, Schema>) =>
    Object.fromEntries(Object.entries(schemas).map(([key, schema]) => [key, forFiles(schema)]))
  const needed = required?.filter((key) => properties?.[key]?.default === undefined)
  return {
    ...rest,
    ...(needed?.length ? { required: needed } : {}),
    ...(properties && { properties: each(properties) }),
    ...(patternProperties && { patternProperties: each(patternProperties) }),
    ...(items && { items: forFiles(items) }),
    ...(anyOf && { anyOf: anyOf.map(forFiles) }),
  }
}

export const jsonSchema = (): string =>
  `${JSON.stringify({ $schema: 'https://json-schema.org/draft/2020-12/schema', ...forFiles(root) }, null, 2)}\n`

interface Row {
  path: string
  form: string
  fallback: string
  description: string
}

const objectOf = (schema: Schema): Schema | undefined =>
  schema.properties || schema.patternProperties ? schema : schema.anyOf?.find((branch) => branch.properties)

const NO_LIMIT = 2_147_483_647

function form(schema: Schema): string {
  if (schema.anyOf) return schema.anyOf.map(form).join(' or ')
  if (schema.enum) return schema.enum.map(code).join(' · ')
  if (schema.type === 'array') return `list of ${schema.items ? form(schema.items) : 'values'}${schema.minItems ? ', at least one' : ''}`
  if (schema.type === 'object') return 'mapping'
  const { minimum, maximum } = schema
  if (minimum === undefined) return schema.type ?? 'any'
  return maximum === undefined || maximum >= NO_LIMIT ? `${schema.type} ≥ ${minimum}` : `${schema.type} ${minimum}–${maximum}`
}

function fallback(schema: Schema, isRequired: boolean): string {
  const { default: value } = schema
  if (value === undefined) return isRequired ? '*required*' : ''
  return typeof value === 'object' && value !== null && !Object.keys(value).length && !Array.isArray(value) ? '' : code(value)
}

/** One row for each key, a section before its keys. Entries of a list are `key[]`; free names of a mapping are `key.<name>`. */
function rows(schema: Schema, path: string): Row[] {
  const named = Object.entries(schema.properties ?? {}).map(([key, value]) => ({
    at: path ? `${path}.${key}` : key,
    value,
    isRequired: schema.required?.includes(key) ?? false,
  }))
  const free = Object.values(schema.patternProperties ?? {}).map((value) => ({ at: `${path}.<name>`, value, isRequired: false }))
  return [...named, ...free].flatMap(({ at, value, isRequired }) => {
    const own = { path: at, form: form(value), fallback: fallback(value, isRequired), description: value.description ?? '' }
    const entries = value.items && objectOf(value.items)
    const inner = entries ? rows(entries, `${at}[]`) : rows(objectOf(value) ?? {}, at)
    const isPlainSection = value.type === 'object' && !own.description && !own.fallback
    return isPlainSection ? inner : [own, ...inner]
  })
}

export function configurationPage(): string {
  const sections = Object.entries(root.properties ?? {}).map(([key, schema]) => {
    const inner = rows({ properties: { [key]: schema } }, '').filter((row) => row.path !== key)
    const table = inner.map(({ path, form, fallback, description }) => row([code(path), form, fallback, description]))
    return [`## ${key}`, '', schema.description ?? '', '', '| Key | Form | Default | |', '|---|---|---|---|', ...table, ''].join('\n')
  })
  return `${PREFACE}\n${sections.join('\n')}`
}

const PREFACE = `<!-- Made by \`npm run schema\` from src/platform/config/schema.ts: change it there. -->
# Configuration

One YAML file (\`--config FILE\`, else \`./portcullis.yaml\`) holds the configuration. Environment variables override the file, and
\`--set section.key=value\` overrides both. Unknown keys are always an error. [config/portcullis.yaml](../config/portcullis.yaml) is an example with
every key. \`portcullis check --config FILE\` shows all problems at once; in CI, \`check --strict FILE\` also fails for warnings. \`check --print\` shows the result with all defaults.

Every key outside \`routes\` is also an environment variable: \`auth.password.minLength\` is \`PORTCULLIS_AUTH__PASSWORD__MIN_LENGTH\`. The items of a
list are separated by commas. \`DATABASE_URL\`, \`REDIS_URL\` and \`PORT\` are short for \`database.url\`, \`redis.url\` and \`server.port\`. A variable
whose name ends in \`_FILE\` is the path of a file with the value. *Required* means that the key must be in its mapping, if the mapping is given.

A problem names the line and the setting. It repeats a value or an unknown name only if that looks like a plain word, number or address, so that a secret in the wrong place stays secret.

Secrets never belong in the file. They are environment variables: \`PORTCULLIS_SECRET_KEY\` (32 random bytes in base64; required), \`PORTCULLIS_SECRET_KEY_PREVIOUS\` (the old key, while the key is replaced),
\`PORTCULLIS_ADMIN_EMAIL\` and \`PORTCULLIS_ADMIN_PASSWORD\` (the first admin, created once).

Traces are configured by the standard variables of OpenTelemetry, such as \`OTEL_EXPORTER_OTLP_ENDPOINT\`: see [tracing](tracing.md#variables).
`
