import { createRequire } from 'node:module'
import { Ajv } from 'ajv'
import { describe, expect, it } from 'vitest'
import { sarifOf } from '../../../src/commands/sarif.ts'

const load = createRequire(import.meta.url)
/** The schema as OASIS has published it. It is of an older draft, whose names for these two members are other names today. */
const { id: _, $schema: __, ...schema } = load('@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json') as Record<string, unknown>
const validate = new Ajv({ strict: false, validateFormats: false, unicodeRegExp: false }).compile(schema)

const log = sarifOf([
  { level: 'error', problem: { where: 'config/a b.yaml:3:7', path: 'server.prot', message: 'unknown key', hint: 'did you mean port?' } },
  { level: 'warning', problem: { where: '/etc/portcullis.yaml:1:1', path: 'routes[0]', message: 'is wide', rule: 'route-laxer' } },
  { level: 'note', problem: { where: 'PORTCULLIS_X', path: '', message: 'no such setting' } },
  { level: 'error', problem: { where: '', path: 'redis.url', message: 'no answer', rule: 'server-away' } },
]) as { runs: [{ tool: { driver: { rules: { id: string }[] } }; results: Record<string, any>[] }] }

describe('findings as SARIF', () => {
  it('are valid against the published schema, which refuses other documents', () => {
    expect(validate(log), JSON.stringify(validate.errors)).toBe(true)
    expect(validate(sarifOf([])), JSON.stringify(validate.errors)).toBe(true)
    expect(validate({ ...log, version: '1.0.0' })).toBe(false)
    expect(validate({ ...log, runs: [{ results: [] }] })).toBe(false)
  })

  it('name the rule, the level, the text and the place', () => {
    const [{ tool, results }] = log.runs
    expect(results[0]).toEqual({
      ruleId: 'setting',
      ruleIndex: tool.driver.rules.findIndex(({ id }) => id === 'setting'),
      level: 'error',
      message: { text: 'server.prot: unknown key\ndid you mean port?' },
      locations: [{ physicalLocation: { artifactLocation: { uri: 'config/a%20b.yaml' }, region: { startLine: 3, startColumn: 7 } } }],
    })
    expect(results[1]).toMatchObject({ ruleId: 'route-laxer', level: 'warning' })
    expect(results[2]!.locations).toEqual([{ logicalLocations: [{ fullyQualifiedName: 'PORTCULLIS_X' }] }])
    expect(results[3]!.locations).toEqual([{ logicalLocations: [{ fullyQualifiedName: 'redis.url' }] }])
  })
})
