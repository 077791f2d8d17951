/** Writes the dashboards from their sources. `--check`: fails when a file is not what would be written. */
import { readFileSync, writeFileSync } from 'node:fs'
import { accounts } from './accounts.ts'
import { toJson } from './panels.ts'
import { requests } from './requests.ts'
import { stores } from './stores.ts'

const FOLDER = new URL('../dashboards/', import.meta.url)
const isCheck = process.argv.includes('--check')

for (const [name, dashboard] of Object.entries({ requests, accounts, stores })) {
  const file = new URL(`${name}.json`, FOLDER)
  const text = `${JSON.stringify(toJson(dashboard), null, 2)}\n`
  if (!isCheck) writeFileSync(file, text)
  else if (readFileSync(file, 'utf8') !== text) {
    console.error(`deploy/grafana/dashboards/${name}.json is not up to date: run npm run dashboards`)
    process.exitCode = 1
  }
}
