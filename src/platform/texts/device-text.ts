/** The name of a device in the language of the reader. */
import { UNKNOWN_APP } from '../request/device-name.ts'
import type { Language } from './texts.ts'

/** @param name as device-name.ts writes it: `Firefox on Linux` */
export function deviceIn(name: string, { text }: Pick<Language, 'text'>): string {
  const [browser = '', system, ...more] = name.split(' on ')
  const app = browser === UNKNOWN_APP ? text('mail.device.app') : browser
  if (system === undefined) return app
  return more.length > 0 ? name : text('mail.device', { browser: app, system })
}
