// Other tabs of this page: one file is sent by one of them.

/** Hold an upload for this tab until it is let go; null if another tab has it. */
export async function hold(key: string): Promise<(() => void) | null> {
  // Only pages from https or from this machine have locks; others go without.
  if (!('locks' in navigator)) return () => undefined
  return new Promise((resolve) => {
    void navigator.locks.request(key, { ifAvailable: true }, (lock) => {
      if (lock === null) {
        resolve(null)
        return undefined
      }
      return new Promise<void>((release) => resolve(release))
    })
  })
}

/** Name the uploads that tabs are busy with, this one too. */
export async function held(): Promise<Set<string>> {
  if (!('locks' in navigator)) return new Set()
  const { held: locks } = await navigator.locks.query()
  return new Set((locks ?? []).map((lock) => lock.name ?? ''))
}
