// What the server says of itself, in an attribute of the page.

export interface Settings {
  /** Where uploads are created; relative to the page, or absolute. */
  endpoint: string
  /** Bytes of one request at most; null: no limit. */
  chunkSize: number | null
  /** Files from this size on are sent in parts at the same time; null: never. */
  parallelFrom: number | null
  parallelParts: number
  maxSize: number | null
  extensions: string[]
  /** Requests need a token. */
  wantsToken: boolean
  /** Links that were made for one upload are accepted. */
  takesLinks: boolean
  types: string[]
  endings: string[]
  /** Finished files can be fetched. */
  download: boolean
  /** The server computes SHA-256 itself. */
  digest: boolean
  /** Seconds for which an unfinished upload is kept; null: for ever. */
  keptFor: number | null
}

export function readSettings(): Settings {
  return JSON.parse(document.body.dataset.settings ?? '') as Settings
}

export function has(settings: Settings, extension: string): boolean {
  return settings.extensions.includes(extension)
}
