/**
 * Holds the files by which requests are judged, and reads them again when they change. While a changed file cannot be used, what was read
 * before stays in force. Each process holds its own copy.
 */
import { readFile, stat } from 'node:fs/promises'
import { setImmediate as letRequestsPass } from 'node:timers/promises'
import { isFileName } from '../config/harmless.ts'
import type { Config } from '../config/schema.ts'
import { formatProblem } from '../config/source.ts'
import { fileErrorText } from '../lib/errors.ts'
import { type FileWatch, markOf, watchFiles } from '../lib/watch-files.ts'
import type { Networks } from '../request/client-address.ts'
import { MAX_NETWORK_FILE_BYTES, NetworkFileError, readNetworks } from '../request/network-file.ts'
import type { Logger } from '../telemetry/logger.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { type ClientData, networkFilesOf, networksBy } from './client-data.ts'
import { type CountryDatabase, CountryDatabaseError, MAX_DATABASE_BYTES, openCountryDatabase } from './country-database.ts'
import { createGeo, NO_GEO } from './geo.ts'

export interface DataFiles {
  /** Reads the files of a configuration. Call it before `dataOf` is used. @throws when a file that was not in use before cannot be used */
  prepare(config: Config): Promise<void>
  /** The files of a configuration, always as they were last read. */
  dataOf(config: Config): ClientData
  /** Forgets all files that this configuration does not name. */
  keepOnly(config: Config): void
  stop(): void
}

export interface DataFilesDeps {
  logger: Logger
  metrics: Pick<Metrics, 'dataFileSuccess' | 'geoDatabaseTime'>
  /** False when another process of the gateway logs this notice. */
  isFirstNotice(reason: string): Promise<boolean>
}

type Kind = 'networks' | 'countries'
interface Contents {
  networks: Networks
  countries: CountryDatabase
}

interface Held<K extends Kind = Kind> {
  kind: K
  file: string
  content: Contents[K]
  /** Of the file when it was last looked at, good or not. */
  mark: string
  isGood: boolean
}

const MAX_BYTES: Record<Kind, number> = { networks: MAX_NETWORK_FILE_BYTES, countries: MAX_DATABASE_BYTES }

const READERS: { [K in Kind]: (file: string, content: Buffer) => Promise<Contents[K]> } = {
  async networks(file, content) {
    const steps = readNetworks(file, content)
    for (;;) {
      const step = steps.next()
      if (step.done) return step.value
      await letRequestsPass()
    }
  },
  countries: async (_, content) => openCountryDatabase(content),
}

export function createDataFiles({ logger, metrics, isFirstNotice }: DataFilesDeps): DataFiles {
  const all = new Map<string, Held>()
  /** Also the files that are about to be read. */
  const watched = new Set<string>()
  let watch: FileWatch | null = null
  /** One after the other: two readings of a file could end in the wrong order. */
  let working: Promise<unknown> = Promise.resolve()

  const keyOf = (kind: Kind, file: string) => `${kind} ${file}`
  const wantedBy = (config: Config): [kind: Kind, file: string][] => [
    ...networkFilesOf(config).map((file): [Kind, string] => ['networks', file]),
    ...(config.geo.database === undefined ? [] : [['countries', config.geo.database] as [Kind, string]]),
  ]

  async function read<K extends Kind>(kind: K, file: string): Promise<Contents[K]> {
    if ((await stat(file)).size > MAX_BYTES[kind]) throw new Error(`is larger than ${MAX_BYTES[kind]} bytes`)
    return READERS[kind](file, await readFile(file))
  }

  /** @throws when the file cannot be used, and was not in use before */
  async function bring(kind: Kind, file: string): Promise<void> {
    const before = all.get(keyOf(kind, file))
    const mark = await markOf(file)
    if (before?.mark === mark) return
    try {
      const content = await read(kind, file)
      // a file that was exchanged meanwhile is read once more
      const isSame = (await markOf(file)) === mark
      const held: Held = Object.assign(before ?? { kind, file }, { content, isGood: true, mark: isSame ? mark : '' }) as Held
      all.set(keyOf(kind, file), held)
      if (kind === 'countries') metrics.geoDatabaseTime.set((content as CountryDatabase).builtAt / 1000)
      if (before) await report(held, mark, null)
    } catch (error) {
      if (!before) throw new Error(textOf(file, error), { cause: error })
      Object.assign(before, { mark, isGood: false })
      await report(before, mark, textOf(file, error))
    } finally {
      const ofKind = [...all.values()].filter((held) => held.kind === kind)
      metrics.dataFileSuccess.set({ kind }, Number(ofKind.every(({ isGood }) => isGood)))
    }
  }

  async function report({ kind, file }: Held, mark: string, problem: string | null): Promise<void> {
    if (!(await isFirstNotice(`data file ${file} ${mark}`))) return
    const shown = isFileName(file) ? { kind, file } : { kind }
    if (problem === null) logger.info(shown, 'a changed file is in force')
    else
      logger.error({ reason: 'data_file_unusable', ...shown, cause: problem }, 'a changed file cannot be used: what was read before stays')
  }

  function inTurn(work: () => Promise<void>): Promise<void> {
    const done = working.then(work)
    working = done.catch(() => undefined)
    return done
  }

  const bringAll = () =>
    inTurn(async () => {
      for (const { kind, file } of [...all.values()]) await bring(kind, file)
    })

  /** @returns what a file holds whenever it is asked */
  function live<K extends Kind>(kind: K, file: string): () => Contents[K] | null {
    let held: Held<K> | undefined
    return () => {
      held ??= all.get(keyOf(kind, file)) as Held<K> | undefined
      return held?.content ?? null
    }
  }

  return {
    prepare: (config) =>
      inTurn(async () => {
        const wanted = wantedBy(config)
        if (wanted.length === 0) return
        for (const [, file] of wanted) watched.add(file)
        watch ??= watchFiles({ files: () => [...watched], onChange: () => void bringAll() })
        await watch.see()
        for (const [kind, file] of wanted) await bring(kind, file)
      }),
    dataOf(config) {
      const { database } = config.geo
      const countries = database === undefined ? null : live('countries', database)
      return {
        geo: countries ? createGeo({ countryOf: (address) => countries()?.countryOf(address) ?? null }) : NO_GEO,
        networksOf(file) {
          const networks = live('networks', file)
          return networksBy(() => {
            const found = networks()
            if (!found) throw new Error('a file of networks was not read')
            return found
          })
        },
      }
    },
    keepOnly(config) {
      const wanted = wantedBy(config)
      const keys = new Set(wanted.map(([kind, file]) => keyOf(kind, file)))
      for (const key of all.keys()) if (!keys.has(key)) all.delete(key)
      watched.clear()
      for (const [, file] of wanted) watched.add(file)
    },
    stop: () => watch?.stop(),
  }
}

function textOf(file: string, error: unknown): string {
  if (error instanceof NetworkFileError) return error.problems.map(formatProblem).join('\n')
  const name = isFileName(file) ? `${file} ` : ''
  if (error instanceof CountryDatabaseError) return `${name}${error.message}; ${error.hint}`
  return `${name}cannot be used: ${fileErrorText(error)}`
}
