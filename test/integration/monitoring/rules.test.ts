/** Rules and alerts for Prometheus: promtool accepts them, runs their unit tests, and each alert has what an operator needs. */
import { globSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { PROMTOOL, promtool } from '../../support/prometheus.ts'
import { type Alert, alertsIn } from '../../support/rules.ts'
import { describeWith } from '../../support/tools.ts'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const FOLDER = `${ROOT}deploy/prometheus/`
const read = (path: string) => readFileSync(ROOT + path, 'utf8')
const RULES = ['alerts.yml', 'slo.yml']
const TESTS = ['alerts.test.yml', 'alerts-of-a-day.test.yml', 'slo.test.yml']

interface UnitTests {
  tests: { name: string; alert_rule_test?: { alertname: string; exp_alerts?: unknown[] }[] }[]
}
const unitTests = TESTS.flatMap((file) => (parse(read(`deploy/prometheus/tests/${file}`)) as UnitTests).tests)
const alertTests = unitTests.flatMap((test) => test.alert_rule_test ?? [])
const alerts: [name: string, alert: Alert][] = RULES.flatMap((file) => alertsIn(read(`deploy/prometheus/${file}`))).map((alert) => [
  alert.alert,
  alert,
])

/** Each section `### …` of the runbooks, by its title. */
const runbooks = new Map(
  read('docs/runbooks.md')
    .split(/^### /m)
    .slice(1)
    .map((section) => [section.split('\n')[0]!, section.split(/^## /m)[0]!]),
)
const BASE = 'https://runbooks.example.com/portcullis#'

describeWith(PROMTOOL, 'promtool', () => {
  it.each(RULES)('accepts %s', (file) => {
    const { code, output } = promtool(['check', 'rules', '--lint-fatal', file], { cwd: FOLDER })
    expect({ code, output }).toMatchObject({ code: 0, output: expect.stringMatching(/SUCCESS: \d+ rules found/) })
  })

  it('accepts the configuration, which loads the rules', () => {
    const { code, output } = promtool(['check', 'config', '--lint-fatal', 'prometheus.yml'], { cwd: FOLDER })
    expect({ code, output }).toMatchObject({ code: 0, output: expect.stringContaining(`${RULES.length} rule files found`) })
  })

  it.each(TESTS)('runs the unit tests of %s', (file) => {
    const { code, output } = promtool(['test', 'rules', file], { cwd: `${FOLDER}tests` })
    expect({ code, output }).toMatchObject({ code: 0, output: expect.stringContaining('SUCCESS') })
  })

  it('counts the unit tests', () => {
    console.log(`promtool test rules: ${unitTests.length} tests with ${alertTests.length} judgements of ${alerts.length} alerts`)
    expect(unitTests.length).toBeGreaterThan(70)
  })
})

describe('Alerts', () => {
  it.each(alerts)('%s has for, a severity, a summary, a runbook and a row in the list', (name, alert) => {
    expect(alert.for).toMatch(/^[1-9]\d*[smh]$/)
    expect(alert.labels?.severity).toMatch(/^(?:page|ticket)$/)
    expect(alert.annotations?.summary).toMatch(/\w/)
    expect(alert.annotations?.runbook_url).toBe(BASE + name.toLowerCase())
    expect(runbooks.get(name), 'docs/runbooks.md').toBeDefined()
    expect(read('docs/monitoring.md')).toContain(`| [${name}](runbooks.md#${name.toLowerCase()}) | ${alert.labels?.severity} |`)
  })

  it.each(alerts)('%s has a unit test in which it fires, and one in which it does not', (name) => {
    const own = alertTests.filter(({ alertname }) => alertname === name).map(({ exp_alerts = [] }) => exp_alerts.length > 0)
    expect(new Set(own)).toEqual(new Set([true, false]))
  })

  it('no runbook and no row in the list is left of an alert that is gone', () => {
    const names = alerts.map(([name]) => name).sort()
    expect([...runbooks.keys()].sort()).toEqual(names)
    const listed = [...read('docs/monitoring.md').matchAll(/^\| \[(Portcullis\w+)\]/gm)].map(([, name]) => name!)
    expect(listed.sort()).toEqual(names)
  })
})

describe('Runbooks', () => {
  /** `{ reason: 'worker_exit' }` in the program, and the codes of errors, which are outcomes. */
  const words = new Set([...sourcesOf('src').matchAll(/'([a-z_]+)'|^ {2}([a-z_]+): /gm)].map(([, text, key]) => text ?? key!))

  it.each([...runbooks])('%s says what it means, what users notice, three commands, and how to confirm the mend', (_, section) => {
    for (const part of ['**It means**', '**Users notice**', '**Mended when**']) expect(section).toContain(part)
    const blocks = [...section.matchAll(/```sh\n(.*?)```/gs)].map(([, text]) => text!.trim().split('\n'))
    expect(blocks).toHaveLength(1)
    expect(blocks[0]).toHaveLength(3)
    const programs = blocks[0]!.map((line) => line.split(' ')[0])
    const USUAL = [
      'curl',
      'date',
      'df',
      'dmesg',
      'journalctl',
      'pg_isready',
      'portcullis',
      'promtool',
      'redis-cli',
      'ss',
      'systemctl',
      'timedatectl',
      'top',
    ]
    expect(programs.filter((program) => !USUAL.includes(program!))).toEqual([])
  })

  it.each([...runbooks])('%s looks for log lines that the gateway can write', (_, section) => {
    const searched = [...section.matchAll(/"(?:reason|outcome)":"([^"]+)"/g)].flatMap(([, pattern]) => alternativesOf(pattern!))
    expect(searched.filter((word) => !words.has(word))).toEqual([])
  })
})

/** `db_(up|down)` → db_up, db_down */
function alternativesOf(pattern: string): string[] {
  const [, head, list, tail] = /^(\w*)\(([^)]*)\)(\w*)$/.exec(pattern) ?? []
  return list === undefined ? [pattern] : list.split('|').map((word) => head + word + tail)
}

function sourcesOf(folder: string): string {
  return globSync(`${folder}/**/*.ts`, { cwd: ROOT })
    .map((file) => read(file))
    .join('\n')
}
