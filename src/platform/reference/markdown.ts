/** Parts of generated Markdown tables. */
export const code = (value: unknown) => `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``

const cell = (text: string) => text.replaceAll('|', '\\|')

export const row = (cells: readonly string[]) => `| ${cells.map(cell).join(' | ')} |`
