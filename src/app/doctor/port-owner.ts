/** Which process listens on a TCP port. Linux shows it in /proc: of our own processes, or of all to root. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

export interface Owner {
  pid: number
  /** Such as `nginx`. */
  name: string
}

const LISTENING = '0A'

/** @returns null where the system does not say */
export function ownerOfPort(port: number): Owner | null {
  const inodes = new Set(['tcp', 'tcp6'].flatMap((table) => inodesOf(table, port)))
  if (inodes.size === 0) return null
  for (const pid of pids()) {
    try {
      const folder = `/proc/${pid}/fd`
      const holds = readdirSync(folder).some((fd) => inodes.has(/^socket:\[(\d+)\]$/.exec(linkOf(`${folder}/${fd}`))?.[1] ?? ''))
      if (holds) return { pid, name: readFileSync(`/proc/${pid}/comm`, 'utf8').trim() }
    } catch {
      // of another user, or it has ended
    }
  }
  return null
}

/** Columns of /proc/net/tcp: number, local address, remote address, state, …, inode (the tenth). */
function inodesOf(table: string, port: number): string[] {
  try {
    return readFileSync(`/proc/net/${table}`, 'utf8')
      .split('\n')
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .filter(([, local, , state]) => state === LISTENING && Number.parseInt(local!.split(':')[1]!, 16) === port)
      .map((columns) => columns[9]!)
  } catch {
    return []
  }
}

const pids = (): number[] => {
  try {
    return readdirSync('/proc').map(Number).filter(Number.isInteger)
  } catch {
    return []
  }
}

/** Empty: the descriptor was closed meanwhile. */
function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}
