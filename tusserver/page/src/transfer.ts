// One file on its way: its parts, its state, its digest.

import { Upload } from 'tus-js-client'
import { type Access, bare } from './access'
import type { Chunks } from './chunks'
import type { Digests } from './digest'
import { Part, fault } from './part'
import { type Record as Kept, type Records, type Sent, pathOf } from './records'
import { type Settings, has } from './settings'
import { Speed } from './speed'
import { hold } from './tabs'
import { type Fault, explain, passes, tooLarge } from './words'

export type State =
  | 'waiting'
  | 'active'
  | 'joining'
  | 'paused'
  | 'blocked'
  | 'failed'
  | 'done'
  | 'cancelled'

/** What all transfers of a page share. */
export interface House {
  settings: Settings
  access: Access
  chunks: Chunks
  records: Records
  digests: Digests
}

const STRANGER = 'This server takes uploads only from those it knows: enter your token above.'
const JOIN_PAUSES = [0.5, 1, 2, 4, 8, 15, 30]
const DELETE_PAUSES = [500, 1000, 3000]

export class Transfer {
  state: State = 'waiting'
  /** Why it failed or is blocked. */
  problem = ''
  /** Whether trying again can help. */
  canRetry = true
  /** Something to know that is no problem. */
  note = ''
  /** The finished file, with its credential where it has one. */
  url = ''
  digest = ''
  digested = 0
  digestFailed = false
  /** The server has computed the same digest. */
  isVerified = false
  readonly speed = new Speed()

  #parts: Part[] = []
  #metadata: Record<string, string> = {}
  #release: (() => void) | null = null
  #stopDigest: (() => void) | null = null

  constructor(
    readonly file: Sent,
    private readonly house: House,
    private readonly changed: (transfer: Transfer) => void,
  ) {
    const { maxSize } = house.settings
    if (maxSize !== null && file.size > maxSize) this.#fail(tooLarge(house.settings), false)
  }

  get key(): string {
    return this.house.records.keyOf(this.file)
  }

  /** The finished file, without any credential. */
  get plainUrl(): string {
    return this.url === '' ? '' : bare(this.url)
  }

  get sent(): number {
    if (this.state === 'done') return this.file.size
    return this.#parts.reduce((sum, part) => sum + part.sent, 0)
  }

  /** How many connections it takes. */
  get width(): number {
    return this.#parts.length || this.#partsWanted()
  }

  get waitsFor(): Fault | null {
    return this.#parts.find((part) => part.waitsFor !== null)?.waitsFor ?? null
  }

  /** Seconds until it tries again. */
  get pause(): number {
    const waiting = this.#parts.filter((part) => part.waitsFor !== null)
    const soonest = Math.min(...waiting.map((part) => part.triesAt))
    return Math.max(0, (soonest - performance.now()) / 1000)
  }

  async start(): Promise<void> {
    this.#set('active')
    this.problem = ''
    if (this.#release === null) {
      const release = await hold(this.key)
      if (release === null) {
        this.#fail('This file is being uploaded in another tab.', true)
        return
      }
      this.#release = release
      if (this.state !== 'active') {
        this.#letGo()
        return
      }
    }
    this.#prepare()
    this.#compute()
    this.speed.reset()
    if (this.#parts.every((part) => part.isDone)) await this.#finish()
    else for (const part of this.#parts) part.run()
  }

  hold(): void {
    this.#stop()
    this.#set('paused')
  }

  hurry(): void {
    for (const part of this.#parts) part.hurry()
  }

  /** Wait for its turn again. */
  queue(): void {
    this.problem = ''
    this.#set('waiting')
  }

  /** Stop and remove from the server what it has. */
  async cancel(): Promise<void> {
    this.#stop()
    this.#stopDigest?.()
    this.#set('cancelled')
    this.house.records.forget(this.key)
    this.#letGo()
    const urls = this.#parts.map((part) => part.url).filter((url) => url !== '')
    await Promise.allSettled(urls.map((url) => remove(this.house, url)))
  }

  #prepare(): void {
    if (this.#parts.length > 0) return
    const { records } = this.house
    const before = records.find(this.file)
    const record = before ?? records.make(this.file, this.#partsWanted())
    const count = record.urls.length
    const { name, type } = this.file
    const metadata: Record<string, string> = { filename: name, filetype: type || OCTETS }
    const path = pathOf(this.file)
    if (path !== name) metadata.relativePath = path
    this.#metadata = metadata
    const step = Math.floor(this.file.size / count)
    this.#parts = record.urls.map((url, index) => {
      const end = index === count - 1 ? this.file.size : step * (index + 1)
      const blob = count === 1 ? this.file : this.file.slice(step * index, end)
      const headers: Record<string, string> = count === 1 ? {} : { 'Upload-Concat': 'partial' }
      return new Part(
        blob, this.house.access, this.house.chunks, headers, count === 1 ? metadata : {},
        this.#events(record, index), url,
      )
    })
  }

  #events(record: Kept, index: number) {
    return {
      changed: () => {
        this.speed.note(this.sent)
        this.changed(this)
      },
      located: (url: string) => {
        record.urls[index] = url
        if (this.state === 'active') this.house.records.keep(record)
      },
      lost: () => {
        this.note = 'The server did not have the earlier upload any more: it began anew.'
      },
      done: () => {
        if (this.#parts.every((part) => part.isDone)) void this.#finish()
        else this.changed(this)
      },
      failed: (what: Fault, error: Error) => void this.#failed(what, error),
    }
  }

  #partsWanted(): number {
    const { settings, records } = this.house
    const before = records.find(this.file)
    if (before !== null) return before.urls.length
    const { parallelFrom, parallelParts } = settings
    const isLarge = parallelFrom !== null && this.file.size >= parallelFrom
    const isWorth = isLarge && this.file.size > parallelParts && has(settings, 'concatenation')
    return isWorth ? parallelParts : 1
  }

  /** All bytes are there: join the parts, if there are several. */
  async #finish(): Promise<void> {
    if (this.#parts.length === 1) {
      this.#done(this.#parts[0]?.url ?? '')
      return
    }
    this.#set('joining')
    for (const pause of [...JOIN_PAUSES, null]) {
      const answer = await this.#join()
      if (this.state !== 'joining') return
      if (typeof answer === 'string') {
        this.#done(answer)
        return
      }
      if (pause === null || !passes(answer)) {
        // A part may be gone: each is asked about again.
        this.#parts = []
        await this.#failed(answer, new Error('the parts were not joined'))
        return
      }
      await new Promise((resolve) => setTimeout(resolve, pause * 1000))
      if (this.state !== 'joining') return
    }
  }

  async #join(): Promise<string | Fault> {
    const { access } = this.house
    const urls = this.#parts.map((part) => access.sign(part.url))
    try {
      const response = await access.ask('POST', access.place, {
        'Upload-Concat': `final;${urls.join(' ')}`,
        'Upload-Metadata': encode(this.#metadata),
      })
      const location = response.headers.get('Location')
      if (response.ok && location !== null) return new URL(location, response.url).href
      const body = await response.text()
      return fault(response.status, body, (name) => response.headers.get(name))
    } catch {
      return fault(0, '', () => null)
    }
  }

  #done(url: string): void {
    this.url = this.house.access.sign(url)
    this.house.records.forget(this.key)
    this.#letGo()
    this.#set('done')
    this.#keep()
    void this.#verify()
  }

  #keep(): void {
    const { name, size } = this.file
    const { records } = this.house
    if (this.url !== '') records.addFinished({ name, size, url: this.plainUrl, digest: this.digest })
  }

  async #failed(what: Fault, error: Error): Promise<void> {
    this.#stop()
    const { settings } = this.house
    if (what.status === 401) {
      this.problem = this.house.access.isGiven ? explain(what, settings) : STRANGER
      this.#set('blocked')
      return
    }
    if (what.status === 0 && !(await isReadable(this.file))) {
      this.#fail('The file cannot be read: it was changed, moved or deleted. Choose it again.', false)
      return
    }
    if (what.status === 0 && !('originalRequest' in error)) {
      this.#fail(`Something went wrong in this page: ${error.message}`, true)
      return
    }
    this.#fail(explain(what, settings), !['max_size_exceeded', 'type_refused'].includes(what.code))
  }

  #fail(problem: string, canRetry: boolean): void {
    this.problem = problem
    this.canRetry = canRetry
    this.#letGo()
    this.#set('failed')
  }

  #stop(): void {
    for (const part of this.#parts) part.stop()
  }

  #letGo(): void {
    this.#release?.()
    this.#release = null
  }

  #set(state: State): void {
    this.state = state
    this.changed(this)
  }

  // --- the digest

  #compute(): void {
    if (this.#stopDigest !== null) return
    this.#stopDigest = this.house.digests.compute(this.file, {
      read: (bytes) => {
        this.digested = bytes
        this.changed(this)
      },
      done: (digest) => {
        this.digest = digest
        if (this.state === 'done') this.#keep()
        void this.#verify()
        this.changed(this)
      },
      failed: () => {
        this.digestFailed = true
        this.changed(this)
      },
    })
  }

  /** Compare with what the server has computed, once both are there. */
  async #verify(): Promise<void> {
    if (this.state !== 'done' || this.digest === '' || !this.house.settings.digest) return
    const response = await this.house.access.ask('HEAD', this.url).catch(() => null)
    const told = /sha-256=:([^:]+):/.exec(response?.headers.get('Repr-Digest') ?? '')
    if (told?.[1] === undefined) return
    const theirs = Array.from(atob(told[1]), (one) => one.charCodeAt(0).toString(16).padStart(2, '0'))
    this.isVerified = theirs.join('') === this.digest
    if (!this.isVerified) this.note = 'The server computed another checksum: the file is damaged.'
    this.changed(this)
  }
}

const OCTETS = 'application/octet-stream'

/** Remove an upload from the server, if it can be removed there. */
export async function remove(house: House, url: string): Promise<void> {
  if (!has(house.settings, 'termination')) return
  await Upload.terminate(house.access.sign(url), {
    headers: house.access.headers(),
    retryDelays: DELETE_PAUSES,
  })
}

async function isReadable(file: File): Promise<boolean> {
  try {
    await file.slice(0, 1).arrayBuffer()
    return true
  } catch {
    return false
  }
}

function encode(metadata: Record<string, string>): string {
  const encoded = Object.entries(metadata).map(([key, value]) => {
    const bytes = new TextEncoder().encode(value)
    return `${key} ${btoa(String.fromCharCode(...bytes))}`
  })
  return encoded.join(',')
}
