/** A TCP relay on loopback: it can cut, hold and delay the network, let a peer vanish, and lose the end of an exchange. */
import net, { type AddressInfo, type Socket } from 'node:net'

export interface Relay {
  port: number
  /** `url` with this relay in place of its host and port. */
  through(url: string): string
  /** Sets the target of new connections. */
  target(port: number): void
  /** How many connections were opened so far. */
  accepted(): number
  /** Ends every connection and refuses new connections, until `mend`. */
  cut(): void
  /** Nothing passes until `mend`, which delivers everything that was held. New connections are accepted and held, too. */
  hold(): void
  /**
   * The peer vanishes: nothing passes any more, and nobody hears of it. Sockets stay open at both ends, without FIN or RST. These connections
   * stay silent after `mend`, too. New connections are accepted and stay silent, until `mend`.
   */
  vanish(): void
  /** Everything arrives this much later, in both directions, and up to `jitterMs` later still. */
  delay(ms: number, jitterMs?: number): void
  /** Ends `cut`, `hold`, `vanish` and `delay` for new connections; held connections go on. */
  mend(): void
  /**
   * Loses the next COMMIT of a connection that has sent `statement` before. The client's connection ends without an answer to the COMMIT.
   * `arrives`: Postgres commits first. `delayed`: Postgres receives the COMMIT when `deliver` is called.
   */
  loseCommit(statement: RegExp, outcome: 'arrives' | 'delayed'): Promise<{ deliver(): void }>
  /** Resets the next connection that sends `statement`, before Postgres receives it. */
  resetAt(statement: RegExp): Promise<void>
  close(): Promise<void>
}

interface Loss {
  statement: RegExp
  outcome: 'arrives' | 'delayed'
  happened(how: { deliver(): void }): void
}

export async function startRelay(targetPort = 0): Promise<Relay> {
  let to = targetPort
  let mode: 'open' | 'cut' | 'held' | 'vanished' = 'open'
  let [delayMs, jitterMs] = [0, 0]
  let loss: Loss | null = null
  let reset: { statement: RegExp; happened(): void } | null = null
  let accepted = 0
  const sockets = new Set<Socket>()
  /** What `mend` does for held connections. */
  const held: (() => void)[] = []
  const pairs = new Set<() => void>()

  function join(client: Socket): void {
    accepted++
    client.on('error', () => client.destroy())
    if (mode === 'cut') return void client.destroy()
    sockets.add(client)
    client.on('close', () => sockets.delete(client))
    if (mode === 'vanished') return void client.resume()
    if (mode === 'held') return void held.push(() => client.destroyed || connect(client))
    connect(client)
  }

  /** Passes chunks on in their order: at once, later, or when the relay is mended. A peer that has vanished gets none. */
  function createPassage(isSilent: () => boolean) {
    const waiting: (() => void)[] = []
    const late: (() => void)[] = []
    let dueAt = 0
    function deliver(send: () => void): void {
      if (isSilent()) return
      if (mode !== 'held') send()
      else if (waiting.push(send) === 1) held.push(() => waiting.splice(0).forEach(deliver))
    }
    return (send: () => void) => {
      const now = performance.now()
      dueAt = Math.max(dueAt, now + delayMs + Math.random() * jitterMs)
      if (dueAt <= now && late.length === 0 && waiting.length === 0) return deliver(send)
      // timers of nearly the same time may fire in another order: each delivers the oldest
      late.push(send)
      setTimeout(() => deliver(late.shift()!), dueAt - now)
    }
  }

  function connect(client: Socket): void {
    const server = net.connect(to, '127.0.0.1')
    let isSilent = false
    const [toServer, toClient] = [createPassage(() => isSilent), createPassage(() => isSilent)]
    const silence = () => {
      isSilent = true
    }
    pairs.add(silence)
    for (const [socket, peer] of [
      [client, server],
      [server, client],
    ] as const) {
      sockets.add(socket)
      socket.on('error', () => socket.destroy())
      socket.on('close', () => {
        sockets.delete(socket)
        // of a connection that has vanished, the other end learns nothing
        if (isSilent) return
        const pass = socket === client ? toServer : toClient
        pass(() => {
          pairs.delete(silence)
          peer.destroy()
        })
      })
    }
    let said = ''
    let isLost = false
    client.on('data', (chunk) => {
      if (reset?.statement.test(chunk.toString('latin1'))) {
        client.resetAndDestroy()
        reset.happened()
        reset = null
        return
      }
      said = (said + chunk.toString('latin1')).slice(-20_000)
      if (!loss?.statement.test(said) || !/commit\0/i.test(chunk.toString('latin1'))) return toServer(() => server.write(chunk))
      const { outcome, happened } = loss
      loss = null
      isLost = true
      const deliver = () => void server.write(chunk)
      if (outcome === 'arrives') {
        server.once('data', () => {
          client.destroy()
          happened({ deliver: () => {} })
        })
        return deliver()
      }
      // the connection to the server stays open: the message is still on its way
      client.removeAllListeners('close')
      client.destroy()
      server.once('data', () => server.destroy())
      happened({ deliver })
    })
    server.on('data', (chunk) => {
      if (!isLost) toClient(() => client.write(chunk))
    })
  }

  const listener = net.createServer(join)
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  const { port } = listener.address() as AddressInfo
  return {
    port,
    through: (url) => url.replace(/127\.0\.0\.1:\d+/, `127.0.0.1:${port}`),
    target: (other) => {
      to = other
    },
    accepted: () => accepted,
    cut() {
      mode = 'cut'
      for (const socket of sockets) socket.destroy()
    },
    hold: () => {
      mode = 'held'
    },
    vanish() {
      mode = 'vanished'
      for (const silence of pairs) silence()
      pairs.clear()
    },
    delay(ms, jitter = 0) {
      ;[delayMs, jitterMs] = [ms, jitter]
    },
    mend() {
      mode = 'open'
      ;[delayMs, jitterMs] = [0, 0]
      for (const goOn of held.splice(0)) goOn()
    },
    loseCommit: (statement, outcome) =>
      new Promise((happened) => {
        loss = { statement, outcome, happened }
      }),
    resetAt: (statement) =>
      new Promise((happened) => {
        reset = { statement, happened }
      }),
    close: () =>
      new Promise((resolve) => {
        listener.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}
