/** git over HTTP: push, clone, fetch and a shallow clone. */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const [, ...bases] = process.argv.slice(2)
const folder = mkdtempSync(join(tmpdir(), 'portcullis-real-git-'))
const date = '2026-01-01T00:00:00Z'
const env = {
  PATH: process.env.PATH,
  HOME: folder,
  GIT_TERMINAL_PROMPT: '0',
  GIT_AUTHOR_DATE: date,
  GIT_COMMITTER_DATE: date,
}
const git = (...args: string[]) => execFileSync('git', ['-c', 'user.name=a', '-c', 'user.email=a@b', ...args], { env, stdio: 'pipe' })

const work = join(folder, 'work')
git('init', '-q', '-b', 'main', work)
writeFileSync(join(work, 'small.txt'), 'small\n')
// above http.postBuffer, git sends the pack in chunks
writeFileSync(join(work, 'large.bin'), randomBytes(3_000_000))
git('-C', work, 'add', '.')
git('-C', work, 'commit', '-q', '-m', 'first')

for (const [index, base] of bases.entries()) {
  const url = `${base}/${index}.git`
  const [clone, shallow] = [join(folder, `clone-${index}`), join(folder, `shallow-${index}`)]
  const steps: Record<string, () => Buffer> = {
    push: () => git('-C', work, 'push', '-q', '--force', url, 'main'),
    'list refs': () => git('ls-remote', url),
    clone: () => git('clone', '-q', url, clone),
    log: () => git('-C', clone, 'log', '--stat', '--format=%H %s'),
    'shallow clone': () => git('clone', '-q', '--depth', '1', url, shallow),
    fetch: () => git('-C', clone, 'fetch', '-q', '--all'),
  }
  for (const [name, step] of Object.entries(steps)) {
    let line: string
    try {
      line = `0\t\t${step().toString('base64')}`
    } catch (error) {
      line = `error\t${Buffer.from(String((error as { stderr?: Buffer }).stderr ?? error)).toString('base64')}`
    }
    console.log(`${index}\t${name}\t${line}`)
  }
}
rmSync(folder, { recursive: true })
