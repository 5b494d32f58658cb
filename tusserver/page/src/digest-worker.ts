// SHA-256 of files, in a thread of its own. A file is read in pieces, so that memory does not grow
// with it: Web Crypto wants it whole, and WebAssembly is not allowed by the page's policy.

import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'

const PIECE = 4 * 1024 * 1024

export type Order = { number: number; file: File } | { number: number; file: null }
export type News =
  | { number: number; read: number }
  | { number: number; digest: string }
  | { number: number; failed: true }

const dropped = new Set<number>()
let last = Promise.resolve()

addEventListener('message', (event: MessageEvent<Order>) => {
  const { number, file } = event.data
  if (file === null) dropped.add(number)
  // One after the other: side by side they would only seek more.
  else last = last.then(() => digest(number, file))
})

async function digest(number: number, file: File): Promise<void> {
  const hash = sha256.create()
  try {
    for (let start = 0; start < file.size; start += PIECE) {
      if (dropped.delete(number)) return
      hash.update(new Uint8Array(await file.slice(start, start + PIECE).arrayBuffer()))
      tell({ number, read: Math.min(start + PIECE, file.size) })
    }
    tell({ number, digest: bytesToHex(hash.digest()) })
  } catch {
    tell({ number, failed: true })
  }
}

function tell(news: News): void {
  postMessage(news)
}
