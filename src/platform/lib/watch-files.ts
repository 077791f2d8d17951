/**
 * Notices that files have changed. It looks at them again and again, because that finds every kind of change: a plain write, a file that
 * replaces another by rename, and a folder of Kubernetes, whose link `..data` then leads to other files.
 */
import { stat } from 'node:fs/promises'

export interface FileWatch {
  /** Takes note of the files as they are now. Call it before a file is read for the first time: no later change is missed. */
  see(): Promise<void>
  stop(): void
}

export interface FileWatchOptions {
  /** The files at this time. */
  files(): readonly string[]
  /** Called once a change is complete: the files have stayed the same for `everyMs`. */
  onChange(): void
  everyMs?: number
}

const EVERY_MS = 500

export function watchFiles({ files, onChange, everyMs = EVERY_MS }: FileWatchOptions): FileWatch {
  const known = new Map<string, string>()
  let isChanging = false
  let isStopped = false
  let timer: NodeJS.Timeout | undefined

  /** A file that is looked at for the first time has not changed. */
  async function look(): Promise<boolean> {
    const marks = await Promise.all(files().map(async (file) => [file, await markOf(file)] as const))
    const hasChanged = marks.some(([file, mark]) => known.has(file) && known.get(file) !== mark)
    for (const [file, mark] of marks) known.set(file, mark)
    return hasChanged
  }
  async function check(): Promise<void> {
    const hasChanged = await look()
    if (isStopped) return
    if (isChanging && !hasChanged) onChange()
    isChanging = hasChanged
    timer = setTimeout(check, everyMs).unref()
  }
  void check()

  return {
    async see() {
      // a change of a file that is known is not lost
      if (await look()) isChanging = true
    },
    stop() {
      isStopped = true
      clearTimeout(timer)
    },
  }
}

/** What tells whether a file has changed. Follows links. A file that cannot be read has a mark, too. */
export async function markOf(file: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true })
    return [dev, ino, size, mtimeNs, ctimeNs].join()
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code)
  }
}
