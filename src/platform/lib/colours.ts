/** Colours of the form `#rrggbb` that stay readable. */

const channelsOf = (colour: string): number[] => [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16))

/** WCAG 2.2, relative luminance. */
function luminanceOf(channels: readonly number[]): number {
  const [r, g, b] = channels.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4)) as [
    number,
    number,
    number,
  ]
  return 0.2126 * r + 0.7152 * g + 0.0722 * b
}

/** Black or white, whichever is easier to read on the colour. */
export const textColourOn = (colour: string): string => (luminanceOf(channelsOf(colour)) > 0.179 ? '#000000' : '#ffffff')

/** The colour, mixed with white until it is readable on a dark page. */
export function lightened(colour: string): string {
  let channels = channelsOf(colour)
  while (luminanceOf(channels) < 0.35) channels = channels.map((c) => Math.ceil(c + (255 - c) / 8))
  return `#${channels.map((c) => c.toString(16).padStart(2, '0')).join('')}`
}
