/** W3C Trace Context: which trace a request belongs to, read from its headers and written for the upstream. */
import { randomFillSync } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'

export interface TraceContext {
  /** Of the whole trace: 32 hexadecimal digits. */
  traceId: string
  /** Of this request in the gateway: 16 hexadecimal digits. */
  spanId: string
  /** Of the sender's span. Null: the trace begins here. */
  parentSpanId: string | null
  /** The trace is recorded. A stranger does not decide that. */
  isSampled: boolean
  /** The trace id was drawn at random (level 2 §3.2.2.5.2). */
  isRandom: boolean
  /** What other tracing systems keep in `tracestate`; empty: nothing. */
  state: string
}

/** Other versions than 00 may have more fields (§3.2.4). Two fields of this name are joined with a comma. */
const TRACEPARENT = /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-[^,]*)?$/
const SAMPLED = 0x01
const RANDOM = 0x02

/** @param isTrusted the sender may decide that the trace is recorded */
export function readTraceContext({ traceparent, tracestate }: IncomingHttpHeaders, isTrusted: boolean): TraceContext {
  const given = typeof traceparent === 'string' ? TRACEPARENT.exec(traceparent) : null
  const [, version, traceId, parentSpanId, flags, more] = given ?? []
  if (flags === undefined || (version === '00' && more !== undefined)) return newTrace()
  const bits = Number.parseInt(flags, 16)
  return {
    traceId: traceId!,
    spanId: randomHex(8),
    parentSpanId: parentSpanId!,
    isSampled: isTrusted && (bits & SAMPLED) !== 0,
    isRandom: (bits & RANDOM) !== 0,
    state: tracestate === undefined ? '' : readTraceState(String(tracestate)),
  }
}

/** Without a valid traceparent, tracestate says nothing (§3.3). */
function newTrace(): TraceContext {
  const ids = randomHex(24)
  return { traceId: ids.slice(0, 32), spanId: ids.slice(32), parentSpanId: null, isSampled: false, isRandom: true, state: '' }
}

/** Flags that this version does not know are zero (§3.2.2.5.3). */
export const traceparentOf = ({ traceId, isSampled, isRandom }: TraceContext, spanId: string): string =>
  `00-${traceId}-${spanId}-0${(isSampled ? SAMPLED : 0) + (isRandom ? RANDOM : 0)}`

const MEMBER = /^[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/
const MAX_MEMBERS = 32
const MAX_STATE_LENGTH = 512
/** A longer member is the first to be left out of a list that is too long (§3.3.1.5). */
const LONG_MEMBER = 128

/** @returns the list in one line; empty when a member is malformed or there are too many */
function readTraceState(value: string): string {
  const members: string[] = []
  for (const part of value.split(',')) {
    const member = part.replace(/^[ \t]+|[ \t]+$/g, '')
    // an empty member is allowed, and says nothing
    if (member === '') continue
    if (members.length === MAX_MEMBERS || !MEMBER.test(member)) return ''
    members.push(member)
  }
  return shortened(members).join(',')
}

function shortened(members: string[]): string[] {
  const isTooLong = () => members.reduce((sum, { length }) => sum + length + 1, -1) > MAX_STATE_LENGTH
  for (let i = members.length - 1; i >= 0 && isTooLong(); i--) if (members[i]!.length > LONG_MEMBER) members.splice(i, 1)
  while (isTooLong()) members.pop()
  return members
}

/** Random bytes come from a pool: a system call for each id would cost more than the rest of the headers. */
const pool = Buffer.alloc(8192)
let used = pool.length
function randomHex(bytes: number): string {
  if (used + bytes > pool.length) {
    randomFillSync(pool)
    used = 0
  }
  used += bytes
  return pool.toString('hex', used - bytes, used)
}

/** Of another span in the same trace. */
export const newSpanId = (): string => randomHex(8)
