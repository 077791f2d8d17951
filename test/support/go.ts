/** Small programs in Go, for libraries that exist only there: test/support/go-checks. */
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Tool } from './tools.ts'

export const GO: Tool = { program: 'go', remedy: 'Install Go 1.24 or newer.' }

/** Takes half a minute when nothing is compiled yet. @param name a folder of go-checks @param program where the program is written */
export function buildGo(name: string, program: string): void {
  const cwd = fileURLToPath(new URL('go-checks', import.meta.url))
  execFileSync('go', ['build', '-o', program, `./${name}`], { cwd, stdio: 'pipe' })
}
