/** A wrong clock for a process, by the library of Debian's package libfaketime. */
import { globSync } from 'node:fs'

/** Null where the package is not installed. */
export const FAKETIME: string | null = globSync('/usr/lib/*/faketime/libfaketimeMT.so.1')[0] ?? null

/** @param offset such as `+300s`; the steady clock stays right */
export const environmentOf = (offset: string): Record<string, string> =>
  FAKETIME === null ? {} : { LD_PRELOAD: FAKETIME, FAKETIME: offset, FAKETIME_DONT_FAKE_MONOTONIC: '1', DONT_FAKE_MONOTONIC: '1' }
