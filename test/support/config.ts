/** Loads a configuration with the real loader, for tests that need no gateway. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../../src/app/load-config.ts'
import type { Config } from '../../src/platform/config/schema.ts'

export function configWith(part: object): Config {
  const dir = mkdtempSync(join(tmpdir(), 'portcullis-config-'))
  try {
    const file = join(dir, 'config.json')
    writeFileSync(file, JSON.stringify({ server: { publicUrl: 'http://gateway.test' }, ...part }))
    return loadConfig({ file, env: {}, needSecrets: false }).config
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

/** A route with the fields that the schema requires; `part` overrides them. */
export const route = (path: string, part: { match?: object; [key: string]: unknown } = {}) => ({
  name: `r${path.replace(/[^A-Za-z0-9]/g, '-')}`,
  upstream: ['http://127.0.0.1:9'],
  access: 'public',
  ...part,
  match: { path, ...part.match },
})
