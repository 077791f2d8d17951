import { writeFileSync } from 'node:fs'
import { beforeAll, expect, inject, it } from 'vitest'
import { recordTrafficHour, type TrafficHour } from '../../support/traffic-hour.ts'

let hour: TrafficHour
beforeAll(async () => {
  const t = Date.now()
  hour = await recordTrafficHour(inject('postgresUrl'))
  console.log('hour', Date.now() - t)
  writeFileSync('/tmp/b/hour.om', hour.openMetrics)
}, 120_000)
it('x', () => {
  expect(hour.openMetrics.length).toBeGreaterThan(1000)
})
