/** A TCP relay on loopback: it can cut the network, and it can lose the end of an exchange. */
import net, { type AddressInfo, type Socket } from 'node:net'

export interface Relay {
  port: number
  /** `url` with this relay in place of its host and port. */
  through(url: string): string
  /** Sets the target of new connections. */
  target(port: number): void
  /** Ends every connection and refuses new connections, until `mend`. */
  cut(): void
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
  let isCut = false
  let loss: Loss | null = null
  let reset: { statement: RegExp; happened(): void } | null = null
  const sockets = new Set<Socket>()

  function join(client: Socket): void {
    if (isCut) return void client.destroy()
    const server = net.connect(to, '127.0.0.1')
    for (const [socket, peer] of [
      [client, server],
      [server, client],
    ] as const) {
      sockets.add(socket)
      socket.on('error', () => socket.destroy())
      socket.on('close', () => {
        sockets.delete(socket)
        peer.destroy()
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
      if (!loss?.statement.test(said) || !/commit\0/i.test(chunk.toString('latin1'))) return void server.write(chunk)
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
      if (!isLost) client.write(chunk)
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
    cut() {
      isCut = true
      for (const socket of sockets) socket.destroy()
    },
    mend: () => {
      isCut = false
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
