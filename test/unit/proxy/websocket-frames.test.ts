import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as ws from 'ws'
import { closeFrame, createFrameReader, pingFrame } from '../../../src/proxy/forward/websocket-frames.ts'

// not in the types of ws
const { Receiver, Sender } = ws as any

/** A frame as ws writes it. */
function frame(opcode: number, length: number, isMasked: boolean): Buffer {
  const options = { fin: true, rsv1: false, opcode, mask: isMasked, readOnly: true }
  return Buffer.concat(Sender.frame(Buffer.alloc(length, 0x81), options))
}
/** What ws reads in bytes of a server or a client. */
async function read(bytes: Buffer, isServer: boolean): Promise<[string, unknown[]]> {
  const receiver = new Receiver({ isServer })
  return new Promise((resolve, reject) => {
    for (const event of ['ping', 'conclude']) receiver.on(event, (...args: unknown[]) => resolve([event, args]))
    receiver.on('error', reject)
    receiver.write(bytes)
  })
}

describe('following a stream of frames', () => {
  const arbitraryFrame = fc.record({
    opcode: fc.constantFrom(0, 1, 2, 9, 10),
    length: fc.constantFrom(0, 1, 125, 126, 127, 300, 65_535, 65_536, 70_000),
    isMasked: fc.boolean(),
  })
  const control = { opcode: 9, length: 1, isMasked: false }

  it('finds every end of a frame, however the bytes are cut into pieces', () => {
    fc.assert(
      fc.property(fc.array(arbitraryFrame, { minLength: 1, maxLength: 5 }), fc.array(fc.integer({ min: 1, max: 5000 })), (frames, cuts) => {
        // a control frame has at most 125 bytes
        const whole = frames.map((f) => (f.opcode > 8 ? { ...control, isMasked: f.isMasked } : f))
        const encoded = whole.map(({ opcode, length, isMasked }) => frame(opcode, length, isMasked))
        const bytes = Buffer.concat(encoded)
        const ends = new Set<number>()
        let end = 0
        for (const { length } of encoded) {
          end += length
          ends.add(end)
        }

        const reader = createFrameReader()
        let at = 0
        for (let i = 0; at < bytes.length; i++) {
          const size = cuts.length ? cuts[i % cuts.length]! : bytes.length
          const piece = bytes.subarray(at, at + size)
          let followed = 0
          while (followed < piece.length) {
            followed += reader.follow(piece.subarray(followed), true)
            expect(reader.isBetween()).toBe(ends.has(at + followed))
          }
          at += piece.length
        }
        expect(reader.hasClosed()).toBe(false)
      }),
    )
  })

  it('goes on over the ends when it is not to stop at one', () => {
    const reader = createFrameReader()
    const bytes = Buffer.concat([frame(1, 10, true), frame(2, 200, true), Buffer.from([0x81])])
    expect(reader.follow(bytes)).toBe(bytes.length)
    expect(reader.isBetween()).toBe(false)
  })

  it('sees a close', () => {
    const reader = createFrameReader()
    reader.follow(frame(1, 3, false))
    expect(reader.hasClosed()).toBe(false)
    reader.follow(closeFrame(1000, '', false))
    expect(reader.hasClosed()).toBe(true)
  })
})

describe('our own frames', () => {
  it.each([true, false])('a close has its code and its reason, masked: %s', async (isMasked) => {
    const [event, [code, reason]] = await read(closeFrame(4401, 'token expired', isMasked), isMasked)
    expect([event, code, String(reason)]).toEqual(['conclude', 4401, 'token expired'])
  })
  it.each([true, false])('a ping is one, masked: %s', async (isMasked) => {
    expect((await read(pingFrame(isMasked), isMasked))[0]).toBe('ping')
  })
})
