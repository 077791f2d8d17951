/** Validates a file against a schema. Each problem has its place in the file, and says what would be right. */
import { Ajv, type ErrorObject } from 'ajv'
import type { TSchema } from 'typebox'
import { explain } from './explain.ts'
import { shownPath } from './harmless.ts'
import type { ConfigProblem, ConfigSource, Path } from './source.ts'

export interface Invalid {
  path: Path
  isUnknownKey: boolean
  problem: ConfigProblem
}

export type Validate = (value: unknown, source: Pick<ConfigSource, 'locate'>) => Invalid[]

export function createValidate(schema: TSchema): Validate {
  const validator = new Ajv({ allErrors: true, strict: false, verbose: true }).compile(schema)
  return (value, source) => (validator(value) ? [] : problemsOf(validator.errors ?? [], value, source))
}

function problemsOf(all: readonly ErrorObject[], value: unknown, source: Pick<ConfigSource, 'locate'>): Invalid[] {
  // a bad name in a record gives an inner and an outer error: the outer error is enough
  const errors = all.filter((e) => e.propertyName === undefined)
  return chosenBranches(errors).map((error) => {
    const inside = pathOf(error.instancePath, value)
    const { additionalProperty, propertyName } = error.params
    const named = additionalProperty ?? propertyName
    const path = named === undefined ? inside : [...inside, String(named)]
    return {
      path,
      isUnknownKey: error.keyword === 'additionalProperties',
      problem: { where: source.locate(path), path: shownPath(path), ...explain(error) },
    }
  })
}

/** @param pointer RFC 6901. Only in a list is a step of digits a number: names may be of digits, too */
function pathOf(pointer: string, root: unknown): Path {
  let holder = root
  return pointer
    .split('/')
    .slice(1)
    .map((part) => {
      const name = part.replaceAll('~1', '/').replaceAll('~0', '~')
      const step = Array.isArray(holder) ? Number(name) : name
      holder = (holder as Record<string, unknown> | undefined)?.[step]
      return step
    })
}

/** For a union, keeps the errors of the branch whose type fits. If no single branch fits, keeps one error that names the choices. */
function chosenBranches(errors: ErrorObject[]): ErrorObject[] {
  const unions = errors.filter((e) => e.keyword === 'anyOf')
  return unions.reduce((rest, union) => {
    const inside = rest.filter((e) => e.schemaPath.startsWith(`${union.schemaPath}/`) && e.instancePath.startsWith(union.instancePath))
    const branches = (union.schema as unknown[]).map((_, i) => inside.filter((e) => e.schemaPath.startsWith(`${union.schemaPath}/${i}/`)))
    const wrongKind = (e: ErrorObject) => e.instancePath === union.instancePath && (e.keyword === 'type' || e.keyword === 'enum')
    const meant = branches.filter((branch) => branch.length && !branch.some(wrongKind))
    const kept = rest.filter((e) => !inside.includes(e) && e !== union)
    return meant.length === 1 ? [...kept, ...meant[0]!] : [...kept, union]
  }, errors)
}
