/** The form of a compared subject. */
import type { Dependencies } from '../dependencies.ts'

export interface Subject {
  /** The name in `--only`. */
  name: string
  /** A description for the reader of the table. */
  does: string
  /** It must refuse requests without a valid token. */
  checksTokens: boolean
  /** Commands that it requires. */
  needs?: Need[]
  /** How it was built, or why it could not be built. */
  tried?: string
  version(): string
  /** Called after the last run. @returns why the figures may be misleading; empty: no doubt */
  doubt?: (adminPort: number) => Promise<string>
  /** Writes its configuration. */
  prepare(environment: Environment): Promise<Launch>
}

export interface Need {
  /** On PATH, or absolute. */
  command: string
  install: string
}

export interface Environment {
  /** The folder of this subject; removed when it has ended. */
  folder: string
  port: number
  adminPort: number
  dependencies: Dependencies
}

export interface Launch {
  command: string[]
  env?: Record<string, string>
  /** Answers 2xx once the subject is ready. Undefined: any response on its port counts as ready. */
  readyUrl?: string
  /** Called once it is ready. Undefined: it gets a token of the issuer. */
  token?: () => Promise<string> | string
}
