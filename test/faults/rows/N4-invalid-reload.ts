/** The configuration file is replaced by an invalid file, and reloaded under traffic. */
import { readFileSync, writeFileSync } from 'node:fs'
import { route } from '../../support/config.ts'
import { until } from '../../support/processes.ts'
import { createTally, type FaultRow } from '../harness/fault-row.ts'
import { promiseHealthy } from '../harness/gateways.ts'
import { ask } from '../harness/http.ts'
import { normalClient, promiseNormal, startLoneGateway } from '../harness/lone-gateway.ts'
import { startRowUpstream } from '../harness/upstream.ts'

const SUCCESS = 'portcullis_config_last_reload_success'
const INVALID: Record<string, (text: string) => string> = {
  'no JSON': () => '{ "server": ',
  'an empty file': () => '',
  'an unknown key': (text) => text.replace('"routes"', '"unknownKey": 1, "routes"'),
  'a route without access': (text) => text.replace('"access": "public"', '"access": null'),
  'a wrong number': (text) => text.replace('"routes"', '"log": { "sample": 7 }, "routes"'),
}

export const row: FaultRow = {
  id: 'N4',
  fault: 'The configuration is reloaded from invalid files, then from a valid file',
  promise: 'The last good configuration stays, a metric says so, and traffic is not affected',
  async run({ short }) {
    const tally = createTally()
    const upstream = await startRowUpstream()
    const gateway = await startLoneGateway({ routes: [route('/x', { upstream: [upstream.url] })] })
    const normal = normalClient(`${gateway.url}/x`, 50, tally)
    const good = readFileSync(gateway.configFile, 'utf8')
    const reload = async (text: string, success: number) => {
      writeFileSync(gateway.configFile, text)
      gateway.own().signal('SIGHUP')
      await until(async () => (await gateway.metric(SUCCESS)) === success, `${SUCCESS} ${success}`, 15_000)
    }
    for (let round = 0; round < (short ? 1 : 5); round++)
      for (const [name, change] of Object.entries(INVALID)) {
        await reload(change(good), 0).then(
          () => tally.add('refused'),
          () => tally.promise(false, `${name}: ${SUCCESS} is not 0`),
        )
        const { status } = await ask(`${gateway.url}/x`)
        tally.promise(status === 200, `after ${name} the answer is ${status}`)
        const more = JSON.stringify({
          ...JSON.parse(good),
          routes: [...JSON.parse(good).routes, route('/more', { upstream: [upstream.url] })],
        })
        await reload(more, 1).then(
          () => tally.add('reloaded'),
          () => tally.promise(false, `after ${name} a valid file was not loaded`),
        )
        await reload(good, 1)
      }
    await normal.stop()
    promiseNormal(tally)
    promiseHealthy(gateway, tally)
    return {
      what: `${Object.keys(INVALID).length} kinds of invalid files, each followed by a valid file`,
      counts: tally.text(),
      broken: tally.broken,
    }
  },
}
