/** The client library as a user gets it: packed by npm, and installed from the tarball into a folder of its own. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type * as Library from '../../clients/javascript/src/portcullis-client.d.ts'

export interface PackedClient {
  /** A project that has installed the library. */
  folder: string
  /** The file that programs import. */
  file: string
  /** The files in the tarball. */
  packed: string[]
  load(): Promise<typeof Library>
  close(): void
}

const npm = (cwd: string, ...parameters: string[]) => execFileSync('npm', parameters, { cwd, encoding: 'utf8', stdio: 'pipe' })

export function packClient(): PackedClient {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-client-'))
  const [{ filename, files }] = JSON.parse(npm(resolve('clients/javascript'), 'pack', '--json', '--pack-destination', folder))
  writeFileSync(join(folder, 'package.json'), '{ "name": "app", "private": true, "type": "module" }')
  npm(folder, 'install', '--offline', '--no-audit', '--no-fund', join(folder, filename))
  const file = createRequire(join(folder, 'app.js')).resolve('portcullis-client')
  return {
    folder,
    file,
    packed: (files as { path: string }[]).map(({ path }) => path).sort(),
    load: () => import(pathToFileURL(file).href),
    close: () => rmSync(folder, { recursive: true, force: true }),
  }
}
