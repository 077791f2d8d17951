/** Checks the operator's logo and style sheet before the start, so that no page is broken by them. */
import { existsSync, readFileSync } from 'node:fs'
import { extname } from 'node:path'
import type { Config } from '../../platform/config/schema.ts'
import { fileErrorText } from '../../platform/lib/errors.ts'

type Brand = Config['auth']['browser']['brand']
type Name = 'logo' | 'css'

const MAX_BYTES = 16_384

const PNG = Buffer.from('89504e470d0a1a0a', 'hex')
const isPng = (content: Buffer): boolean => content.subarray(0, PNG.length).equals(PNG)
const isSvg = (content: Buffer): boolean => /<svg[\s>]/i.test(content.toString('utf8'))
const isText = (content: Buffer): boolean => !content.includes(0) && Buffer.from(content.toString('utf8')).equals(content)

/** By extension: what the content must be. */
const LOGO_KINDS = new Map([
  ['.png', { name: 'a PNG', matches: isPng }],
  ['.svg', { name: 'an SVG', matches: isSvg }],
])

interface Refusal {
  name: Name
  message: string
  hint: string
}

/** The files that the operator named. */
export const brandFiles = (brand: Brand): { name: Name; file: string }[] =>
  (['logo', 'css'] as const).flatMap((name) => (brand[name] === undefined ? [] : [{ name, file: brand[name] }]))

export const refusedBrandFiles = (brand: Brand): Refusal[] =>
  brandFiles(brand).flatMap(({ name, file }) => {
    const refusal = existsSync(file) ? refusalOf(name, file) : null
    return refusal === null ? [] : [{ name, ...refusal }]
  })

function refusalOf(name: Name, file: string): Omit<Refusal, 'name'> | null {
  const extension = extname(file).toLowerCase()
  const kind = name === 'css' ? { name: 'a style sheet', matches: isText } : LOGO_KINDS.get(extension)
  if (!kind || (name === 'css' && extension !== '.css'))
    return { message: `${file} has another type`, hint: name === 'css' ? 'name a file such as brand.css' : 'name an .svg or .png file' }
  let content: Buffer
  try {
    content = readFileSync(file)
  } catch (error) {
    return { message: `cannot be read: ${fileErrorText(error)}`, hint: 'name a file that this user can read' }
  }
  if (content.length > MAX_BYTES)
    return { message: `${file} has ${content.length} bytes`, hint: `use a file of at most ${MAX_BYTES} bytes: every browser loads it` }
  if (!kind.matches(content)) return { message: `${file} does not hold ${kind.name}`, hint: 'see what the file holds' }
  return null
}
