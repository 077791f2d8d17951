/** What the tests of metrics build on: a real Prometheus that scrapes a gateway, evaluates rules and reads blocks. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { startGateway } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { createBlocks, PROMETHEUS, startPrometheus } from '../../support/prometheus.ts'
import { describeWith } from '../../support/tools.ts'

const dir = mkdtempSync(join(tmpdir(), 'portcullis-monitoring-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

describeWith(PROMETHEUS, 'Prometheus', () => {
  it('scrapes a gateway and evaluates rules', async () => {
    const gateway = await startGateway()
    const rules = join(dir, 'rules.yml')
    writeFileSync(rules, JSON.stringify({ groups: [{ name: 'test', rules: [{ record: 'twice:db_up', expr: '2 * portcullis_db_up' }] }] }))
    const prometheus = await startPrometheus({ targets: [new URL(gateway.adminUrl).host], rules: [rules] })
    try {
      await prometheus.scraped()
      const [up] = await prometheus.query('up{job="portcullis"}')
      expect(up!.value).toBe(1)
      const twice = await until(async () => (await prometheus.query('twice:db_up'))[0], 'the rule')
      expect(twice.value).toBe(2)
      expect((await prometheus.metadata()).portcullis_db_up).toMatchObject([{ type: 'gauge' }])
      await expect(prometheus.query('rate(')).rejects.toThrow(/parse error/)
    } finally {
      await prometheus.stop()
      await gateway.close()
    }
  })

  it('reads blocks made from text', async () => {
    const noon = Date.UTC(2026, 0, 1, 12) / 1000
    const lines = Array.from({ length: 240 }, (_, i) => `things_total ${i} ${noon + 15 * i}`)
    const storage = createBlocks(['# TYPE things counter', ...lines, '# EOF', ''].join('\n'), mkdtempSync(join(dir, 'blocks-')))
    const prometheus = await startPrometheus({ storage })
    try {
      const [rate] = await prometheus.query('rate(things_total[5m])', noon + 1800)
      expect(rate!.value).toBeCloseTo(1 / 15, 5)
      const [series] = await prometheus.queryRange('things_total', noon, noon + 600, 60)
      expect(series!.values).toHaveLength(11)
    } finally {
      await prometheus.stop()
    }
  })
})
