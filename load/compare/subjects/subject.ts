/** What is compared. */
import type { Neighbours } from '../neighbours.ts'

export interface Subject {
  /** As in `--only`. */
  name: string
  /** For the reader of the table. */
  does: string
  /** Without a good token it must not let anybody pass. */
  checksTokens: boolean
  /** Commands that it cannot do without. */
  needs?: Need[]
  /** What it took to get it, or why it could not be had. */
  tried?: string
  version(): string
  /** Asked after the last run. @returns why its figures may not be what they are called; empty: no reason */
  doubt?: (adminPort: number) => Promise<string>
  /** Writes its configuration. */
  prepare(place: Place): Promise<Launch>
}

export interface Need {
  /** On PATH, or absolute. */
  command: string
  install: string
}

export interface Place {
  /** Its own; removed when it has ended. */
  folder: string
  port: number
  adminPort: number
  neighbours: Neighbours
}

export interface Launch {
  command: string[]
  env?: Record<string, string>
  /** Answers 2xx once it serves; else anything that is answered at its port will do. */
  readyUrl?: string
  /** Asked once it serves. None: it is called without. */
  token?: () => Promise<string> | string
}
