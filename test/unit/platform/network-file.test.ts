import { describe, expect, test } from 'vitest'
import { formatProblem } from '../../../src/platform/config/source.ts'
import { type NetworkFileError, readNetworks } from '../../../src/platform/request/network-file.ts'

function read(content: string) {
  const steps = readNetworks('./lists/deny.txt', Buffer.from(content))
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}

function problemsOf(content: string): string[] {
  try {
    read(content)
    return []
  } catch (error) {
    return (error as NetworkFileError).problems.map(formatProblem)
  }
}

describe('a file of networks', () => {
  test('has an address or a network on each line, comments, empty lines, and line ends of any kind', () => {
    const networks = read('\ufeff# of the office\r\n192.0.2.7  # the door\n\n  10.0.0.0/8\r\n2001:db8::/32')
    for (const address of ['192.0.2.7', '10.1.2.3', '2001:db8::1']) expect(networks.has(address), address).toBe(true)
    expect(networks.has('192.0.2.8')).toBe(false)
  })

  test('of a comment alone holds nobody', () => {
    expect(read('# none\n')).toMatchObject({ isEmpty: true })
  })

  test('names each wrong line, and what would be right', () => {
    expect(problemsOf('10.0.0.0/8\n10.0.0.0/40\nexample.com # a name\n')).toEqual([
      expect.stringMatching(/^\.\/lists\/deny\.txt:2: is no address and no network.*; write one address or network on each line/),
      expect.stringContaining('./lists/deny.txt:3: is no address'),
    ])
  })

  test('shows no text that could be a secret', () => {
    expect(problemsOf('hunter2-Correct9horse\n').join()).not.toContain('hunter2')
  })

  test('with many wrong lines names ten of them', () => {
    const problems = problemsOf(Array.from({ length: 50 }, (_, i) => `nonsense ${i}`).join('\n'))
    expect(problems).toHaveLength(11)
    expect(problems[10]).toContain('40 further lines are wrong')
  })

  test.each(['', ' \n\n'])('that is empty (%j) is half written', (content) => {
    expect(problemsOf(content)).toEqual([expect.stringContaining('is empty; write the networks, or a comment')])
  })

  test('may not be too large', () => {
    expect(problemsOf(`# ${'x'.repeat(16 * 1024 * 1024)}`)).toEqual([expect.stringContaining('is larger than 16777216 bytes')])
    expect(problemsOf(Array.from({ length: 250_001 }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`).join('\n'))).toEqual([
      expect.stringContaining('has more than 250000 networks'),
    ])
  })

  test('is read in steps, and finds an address among a hundred thousand networks', () => {
    const lines = Array.from({ length: 100_000 }, (_, i) => `${10 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}.0/24`)
    const steps = readNetworks('deny.txt', Buffer.from(lines.reverse().join('\n')))
    let count = 0
    for (let step = steps.next(); ; step = steps.next(), count++) {
      if (!step.done) continue
      expect(count).toBeGreaterThan(50)
      expect([
        step.value.has('10.255.7.9'),
        step.value.has('11.134.159.1'),
        step.value.has('11.134.160.1'),
        step.value.has('9.9.9.9'),
      ]).toEqual([true, true, false, false])
      break
    }
  })
})
