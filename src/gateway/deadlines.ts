/** Deadlines of one length for any number of waits: a timer of its own would cost a request more than most of its stages. */
export interface Deadlines {
  /** @param onLate called once, unless the wait ended before */
  begin(onLate: () => void): Wait
  end(wait: Wait): void
}

export interface Wait {
  dueAt: number
  onLate(): void
}

/** @param ms from the beginning of each wait */
export function createDeadlines(ms: number): Deadlines {
  /** In the order of their beginnings, which is that of their ends. */
  const waits = new Set<Wait>()
  let isWatching = false

  function watch(): void {
    const [first] = waits
    isWatching = first !== undefined
    if (first) setTimeout(sweep, Math.max(1, first.dueAt - performance.now())).unref()
  }

  function sweep(): void {
    const now = performance.now()
    try {
      for (const wait of waits) {
        if (wait.dueAt > now) break
        waits.delete(wait)
        wait.onLate()
      }
    } finally {
      watch()
    }
  }

  return {
    begin(onLate) {
      const wait = { dueAt: performance.now() + ms, onLate }
      waits.add(wait)
      if (!isWatching) watch()
      return wait
    },
    end: (wait) => void waits.delete(wait),
  }
}
