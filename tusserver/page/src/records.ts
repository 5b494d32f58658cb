// Uploads that a reload or a crash of the browser interrupts: what is needed to go on with them.
// URLs are kept without credentials.

export interface Record {
  key: string
  name: string
  path: string
  size: number
  type: string
  modified: number
  /** One URL for each part; empty where none is known yet. */
  urls: string[]
  /** When it began, in milliseconds. */
  created: number
}

export interface Finished {
  name: string
  size: number
  url: string
  digest: string
}

export interface Sent extends File {
  /** The path below a folder that was dropped. */
  path?: string
}

const MOST_FINISHED = 100

export class Records {
  readonly #prefix: string
  readonly #finished: string

  constructor(place: string) {
    this.#prefix = `tusserver:upload:${place}:`
    this.#finished = `tusserver:finished:${place}`
  }

  keyOf(file: Sent): string {
    const marks = [pathOf(file), file.size, file.type, file.lastModified]
    return this.#prefix + marks.join(':')
  }

  find(file: Sent): Record | null {
    return read(localStorage, this.keyOf(file)) as Record | null
  }

  make(file: Sent, parts: number): Record {
    return {
      key: this.keyOf(file),
      name: file.name,
      path: pathOf(file),
      size: file.size,
      type: file.type,
      modified: file.lastModified,
      urls: new Array<string>(parts).fill(''),
      created: Date.now(),
    }
  }

  keep(record: Record): void {
    write(localStorage, record.key, record)
  }

  forget(key: string): void {
    attempt(() => localStorage.removeItem(key))
  }

  /** All that began and did not end, the newest first. */
  unfinished(): Record[] {
    const keys = attempt(() => Object.keys(localStorage)) ?? []
    const records = keys
      .filter((key) => key.startsWith(this.#prefix))
      .map((key) => read(localStorage, key) as Record | null)
      .filter((record): record is Record => Array.isArray(record?.urls))
    return records.sort((one, other) => other.created - one.created)
  }

  /** What ended well in this tab: its links outlive a reload, but not the tab. */
  finished(): Finished[] {
    const list = read(sessionStorage, this.#finished)
    return Array.isArray(list) ? (list as Finished[]) : []
  }

  addFinished(one: Finished): void {
    const others = this.finished().filter((other) => other.url !== one.url)
    write(sessionStorage, this.#finished, [one, ...others].slice(0, MOST_FINISHED))
  }

  dropFinished(url: string): void {
    write(sessionStorage, this.#finished, this.finished().filter((other) => other.url !== url))
  }
}

export function pathOf(file: Sent): string {
  return file.path || file.webkitRelativePath || file.name
}

function read(storage: Storage, key: string): unknown {
  return attempt(() => JSON.parse(storage.getItem(key) ?? 'null') as unknown) ?? null
}

function write(storage: Storage, key: string, value: unknown): void {
  attempt(() => storage.setItem(key, JSON.stringify(value)))
}

/** Storage may be full or forbidden: then nothing is remembered, and all else works. */
function attempt<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch {
    return undefined
  }
}
