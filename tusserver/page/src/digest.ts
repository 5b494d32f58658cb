// The digests of files that are being sent.

import type { News, Order } from './digest-worker'

export interface DigestEvents {
  read(bytes: number): void
  done(digest: string): void
  failed(): void
}

interface TrustedTypes {
  createPolicy(name: string, rules: { createScriptURL(url: string): string }): {
    createScriptURL(url: string): string
  }
}

export class Digests {
  #worker: Worker | null = null
  #next = 1
  readonly #asked = new Map<number, DigestEvents>()

  /** Compute the SHA-256 of a file; gives what stops it. */
  compute(file: File, events: DigestEvents): () => void {
    const worker = this.#start()
    if (worker === null) {
      events.failed()
      return () => undefined
    }
    const number = this.#next++
    this.#asked.set(number, events)
    worker.postMessage({ number, file } satisfies Order)
    return () => {
      if (this.#asked.delete(number)) worker.postMessage({ number, file: null } satisfies Order)
    }
  }

  #start(): Worker | null {
    if (this.#worker !== null) return this.#worker
    const script = new URL(document.body.dataset.worker ?? '', location.href).href
    try {
      this.#worker = new Worker(trusted(script))
    } catch {
      return null
    }
    this.#worker.addEventListener('message', (event: MessageEvent<News>) => this.#hear(event.data))
    this.#worker.addEventListener('error', () => {
      for (const events of this.#asked.values()) events.failed()
      this.#asked.clear()
    })
    return this.#worker
  }

  #hear(news: News): void {
    const events = this.#asked.get(news.number)
    if (events === undefined) return
    if ('read' in news) {
      events.read(news.read)
      return
    }
    this.#asked.delete(news.number)
    if ('digest' in news) events.done(news.digest)
    else events.failed()
  }
}

/** The page's policy allows a script's address from here only. */
function trusted(url: string): string {
  const types = (globalThis as { trustedTypes?: TrustedTypes }).trustedTypes
  if (types === undefined) return url
  return types.createPolicy('tusserver', { createScriptURL: (given) => given }).createScriptURL(url)
}
