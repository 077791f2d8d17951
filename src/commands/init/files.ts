/** Writes the files of `init`: all of them or none, and no file is lost. */
import { chmodSync, copyFileSync, lstatSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

export interface PlannedFile {
  /** Relative to the folder. */
  name: string
  text: string
  /** Only its owner may read it. */
  isSecret?: boolean
}

export interface Written {
  /** The copies of files that were replaced. */
  backups: string[]
}

/** Names of files that are there already. */
export const presentOf = (dir: string, files: readonly PlannedFile[]): string[] =>
  files.map(({ name }) => name).filter((name) => isThere(join(dir, name)))

/** A link to nowhere is there, too. */
const isThere = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined

/**
 * Writes every file under a name of its own first. Files that are there already are copied to `NAME.bak` and replaced.
 * @throws when a file cannot be written; then nothing has changed
 */
export function writeFiles(dir: string, files: readonly PlannedFile[]): Written {
  const drafts: { draft: string; path: string }[] = []
  const made: string[] = []
  const backups: { copy: string; path: string }[] = []
  try {
    for (const { name, text, isSecret = false } of files) {
      const path = join(dir, name)
      const first = mkdirSync(dirname(path), { recursive: true })
      if (first !== undefined) made.push(first)
      const draft = `${path}.${process.pid}.new`
      drafts.push({ draft, path })
      writeFileSync(draft, text, { flag: 'wx', mode: isSecret ? 0o600 : 0o644 })
    }
    for (const { path } of drafts) if (isThere(path)) backups.push({ copy: backUp(path), path })
    for (const { draft, path } of drafts) {
      const isNew = !isThere(path)
      renameSync(draft, path)
      if (isNew) made.unshift(path)
    }
  } catch (error) {
    for (const { copy, path } of backups) renameSync(copy, path)
    for (const path of [...drafts.map(({ draft }) => draft), ...made]) rmSync(path, { recursive: true, force: true })
    throw error
  }
  return { backups: backups.map(({ copy }) => copy.slice(dir.length).replace(/^\//, '')) }
}

function backUp(path: string): string {
  let copy = `${path}.bak`
  for (let n = 2; isThere(copy); n++) copy = `${path}.bak${n}`
  copyFileSync(path, copy)
  chmodSync(copy, statSync(path).mode & 0o777)
  return copy
}
