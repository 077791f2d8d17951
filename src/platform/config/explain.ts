/** Puts an error of the validator into words. A value or a name that may be a secret is never repeated. */
import type { ErrorObject } from 'ajv'
import { isHarmless, notShown } from './harmless.ts'
import { nearest } from './nearest.ts'
import { ConfigSchema } from './schema.ts'

const ACCESS_HINT = 'write public, authenticated, or { roles: […] } / { scopes: […] }'
const USER_OF_URL = /^[a-z+]*:?\/\/.*@/is

interface Explanation {
  message: string
  hint?: string | undefined
}

export function explain(error: ErrorObject): Explanation {
  const { keyword, params, parentSchema } = error
  const is = (parentSchema as { writeOnly?: boolean }).writeOnly ? '' : notShown(error.data)
  switch (keyword) {
    case 'additionalProperties': {
      const known = Object.keys((parentSchema as { properties?: object }).properties ?? {})
      const name = String(params.additionalProperty)
      const homes = error.instancePath === '' && parentSchema === ConfigSchema ? sectionsWith(name) : []
      if (homes.length) return { message: 'unknown key', hint: `it belongs to a section: ${homes.join(' or ')}` }
      const near = nearest(name, known)
      return { message: 'unknown key', hint: near ? `did you mean ${near}?` : `known here: ${known.join(', ')}` }
    }
    case 'propertyNames':
      return { message: 'this name has the wrong form', hint: `it must match ${(error.schema as { pattern: string }).pattern}` }
    case 'required':
      return { message: `${params.missingProperty} is missing`, hint: params.missingProperty === 'access' ? ACCESS_HINT : undefined }
    case 'enum':
      return { message: `must be ${params.allowedValues.join(' | ')}${is}` }
    case 'type': {
      if (error.data === null) return { message: 'is empty', hint: 'write its value behind the colon, or indented below it' }
      const type = params.type === 'object' ? 'mapping' : params.type
      // a text in place of a section may be anything
      const isText = typeof error.data === 'string' && ['object', 'array'].includes(params.type)
      return { message: `must be ${/^[aeiou]/.test(type) ? 'an' : 'a'} ${type}${isText ? '' : is}` }
    }
    case 'minimum':
    case 'maximum':
      return { message: `must be ${params.comparison} ${params.limit}${is}` }
    case 'minItems':
      return { message: `must hold at least ${params.limit}` }
    case 'minProperties':
      return { message: 'must name a requirement: { roles: […] }, { scopes: […] }, { anyOf: […] } or { allOf: […] }' }
    case 'pattern':
      return wrongForm(error, is)
    case 'anyOf':
      return { message: `has the wrong form${is}`, hint: `${suggestion(error)}${description(parentSchema) ?? 'see docs/configuration.md'}` }
    default:
      return { message: `${error.message ?? keyword}${is}` }
  }
}

function wrongForm({ data, instancePath, params, parentSchema }: ErrorObject, is: string): Explanation {
  const text = String(data)
  if (ROUTE_PATH.test(instancePath) && LIKE_PATTERN.test(text) && isHarmless(text)) return notPrefix(text)
  const hint = description(parentSchema) ?? `it must match ${params.pattern}`
  // the other addresses are public: they are in logs, pages and tokens
  if (!(parentSchema as { writeOnly?: boolean }).writeOnly && USER_OF_URL.test(text))
    return { message: 'has the wrong form: it must not hold a user or a password', hint: `remove the part before the @. ${hint}` }
  return { message: `has the wrong form${is}`, hint }
}

/** `server.port` for the setting `port`, which was written without its section. */
const sectionsWith = (name: string): string[] =>
  Object.entries(ConfigSchema.properties).flatMap(([section, schema]) =>
    'properties' in schema && Object.hasOwn(schema.properties as object, name) ? [`${section}.${name}`] : [],
  )

const ROUTE_PATH = /^\/routes\/\d+\/match\/path$/
/** The first segment that other routers read as a pattern, and the rest. */
const LIKE_PATTERN = /(^|\/)([^/]*[*{}]|:[A-Za-z_]).*$/s

/** `/orders/*` and `/orders/{id}` become `/orders`. */
function notPrefix(path: string): Explanation {
  const prefix = path.replace(LIKE_PATTERN, '') || '/'
  return {
    message: `is a prefix, not a pattern such as ${JSON.stringify(path)}`,
    hint: `write ${prefix}, which also matches the paths below it`,
  }
}

/** A word of the union that is close to the given word. */
function suggestion({ data, schema }: ErrorObject): string {
  const words = (schema as { enum?: string[] }[]).flatMap((branch) => branch.enum ?? [])
  const near = typeof data === 'string' ? nearest(data, words) : undefined
  return near ? `did you mean ${near}?; ` : ''
}

const description = (schema: unknown) => (schema as { description?: string } | undefined)?.description
