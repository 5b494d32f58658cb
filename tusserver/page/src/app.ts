// The upload page: puts its parts together.

import { Access } from './access'
import { Card } from './card'
import { Chunks } from './chunks'
import { Digests } from './digest'
import { at, leave, say, setText, warn } from './dom'
import { Earlier, showFinished } from './earlier'
import { watchFiles } from './pick'
import { Queue } from './queue'
import { type Record as Kept, Records, type Sent } from './records'
import { type Settings, has, readSettings } from './settings'
import { type House, Transfer } from './transfer'
import { duration, size } from './words'

const TICK = 250
const TITLE = document.title

class Page {
  readonly #settings: Settings = readSettings()
  readonly #access = new Access(this.#settings)
  readonly #house: House = {
    settings: this.#settings,
    access: this.#access,
    chunks: new Chunks(this.#settings.chunkSize),
    records: new Records(this.#access.place),
    digests: new Digests(),
  }
  readonly #queue = new Queue()
  readonly #cards = new Map<Transfer, Card>()
  readonly #stale = new Set<Transfer>()
  readonly #earlier = new Earlier(this.#house, (record) => this.#chooseAgain(record))
  #again: Kept | null = null

  start(): void {
    this.#tellLimits()
    this.#watchAccess()
    watchFiles((files) => this.#take(files))
    showFinished(this.#house.records, this.#access, this.#settings.download)
    void this.#earlier.show()
    setInterval(() => this.#tick(), TICK)
    addEventListener('online', () => {
      for (const transfer of this.#queue.transfers) transfer.hurry()
    })
    addEventListener('beforeunload', (event) => {
      if (this.#isBusy()) event.preventDefault()
    })
    if (!has(this.#settings, 'creation')) {
      this.#refuse('This server takes no new uploads from this page.')
      at<HTMLInputElement>('#files').disabled = true
    }
  }

  #tellLimits(): void {
    const { maxSize, types, endings, keptFor } = this.#settings
    const texts = []
    if (maxSize !== null) texts.push(`Files up to ${size(maxSize)}.`)
    if (types.length > 0) texts.push(`Kinds: ${types.join(', ')}.`)
    if (endings.length > 0) texts.push(`Names ending in ${endings.map((one) => `.${one}`).join(', ')}.`)
    const time = keptFor === null ? 'later' : `within ${duration(keptFor)}`
    texts.push(`What is cut off can go on ${time}.`)
    setText(at('#limits'), texts.join(' '))
    const hints = types.length > 0 ? types : endings.map((one) => `.${one}`)
    at<HTMLInputElement>('#files').accept = hints.join(',')
  }

  // --- files

  #take(files: Sent[]): void {
    this.#refuse('')
    const again = this.#again
    this.#again = null
    if (again !== null && !files.some((file) => this.#house.records.keyOf(file) === again.key)) {
      this.#refuse(
        `This is not the file whose upload is unfinished: name, size or date of ${again.name} differ. ` +
          'Choose the same file, or discard the unfinished upload.',
      )
      return
    }
    const added = files.filter((file) => this.#add(file))
    if (added.length === 0 && files.length > 0) say('These files are in the list already')
    else if (added.length === 1) say(`${added[0]?.name ?? ''} added`)
    else say(`${added.length} files added`)
  }

  #add(file: Sent): boolean {
    const key = this.#house.records.keyOf(file)
    if (this.#queue.find(key) !== undefined) return false
    this.#earlier.drop(key)
    const transfer = new Transfer(file, this.#house, (one) => this.#changed(one))
    const card = new Card(transfer, this.#settings, () => this.#access.usesToken, {
      proceed: (one) => {
        one.queue()
        this.#queue.advance()
      },
      pause: (one) => {
        one.hold()
        this.#queue.advance()
      },
      cancel: (one) => {
        this.#remove(one)
        say(`${one.file.name}: cancelled`)
        one.cancel().catch(() => undefined)
      },
      clear: (one) => {
        this.#house.records.dropFinished(one.plainUrl)
        this.#remove(one)
      },
    })
    this.#cards.set(transfer, card)
    at('#uploads').hidden = false
    at('#uploads ul').append(card.element)
    if (this.#settings.wantsToken && !this.#access.isGiven) this.#askAccess()
    this.#queue.add(transfer)
    return true
  }

  #remove(transfer: Transfer): void {
    const card = this.#cards.get(transfer)
    if (card === undefined) return
    leave(card.element, at('#files'))
    card.element.remove()
    this.#cards.delete(transfer)
    at('#uploads').hidden = this.#cards.size === 0
    this.#queue.remove(transfer)
  }

  #chooseAgain(record: Kept): void {
    this.#again = record
    at<HTMLInputElement>('#files').click()
  }

  #refuse(text: string): void {
    const place = at('#refusal')
    place.hidden = text === ''
    setText(place, text)
    if (text !== '') warn(text)
  }

  // --- what changes

  #changed(transfer: Transfer): void {
    const card = this.#cards.get(transfer)
    // Bytes are shown by the clock, changes of state at once.
    if (card === undefined || card.element.dataset.state === transfer.state) {
      this.#stale.add(transfer)
      return
    }
    card.update()
    if (transfer.state === 'blocked') this.#askAccess()
    queueMicrotask(() => this.#queue.advance())
  }

  #tick(): void {
    for (const transfer of this.#queue.transfers) {
      if (transfer.state === 'active') transfer.speed.note(transfer.sent)
      if (transfer.state === 'active' || this.#stale.has(transfer)) {
        this.#cards.get(transfer)?.update()
      }
    }
    this.#stale.clear()
    const running = this.#queue.transfers.filter((one) => RUNNING.includes(one.state))
    const total = running.reduce((sum, one) => sum + one.file.size, 0)
    const sent = running.reduce((sum, one) => sum + one.sent, 0)
    document.title = total > 0 ? `${Math.floor((sent / total) * 100)} % - ${TITLE}` : TITLE
  }

  #isBusy(): boolean {
    return this.#queue.transfers.some((one) => RUNNING.includes(one.state))
  }

  // --- who asks

  #watchAccess(): void {
    const { wantsToken, takesLinks } = this.#settings
    const field = at<HTMLInputElement>('#credential')
    const label = takesLinks && !wantsToken ? 'Upload link' : 'Token'
    setText(at('#credential-label'), takesLinks && wantsToken ? 'Token or upload link' : label)
    at('#access').hidden = !(wantsToken || takesLinks)
    this.#showAccess()
    at<HTMLFormElement>('#access-form').addEventListener('submit', (event) => {
      event.preventDefault()
      this.#access.take(field.value)
      field.value = ''
      this.#showAccess()
      at('#access-change').focus()
      for (const one of this.#queue.transfers) if (one.state === 'blocked') one.queue()
      this.#queue.advance()
      void this.#earlier.show()
    })
    at('#access-change').addEventListener('click', () => {
      this.#access.take('')
      this.#showAccess()
      field.focus()
    })
  }

  #showAccess(): void {
    at('#access-form').hidden = this.#access.isGiven
    at('#access-given').hidden = !this.#access.isGiven
    const lent = 'Uploads go to whoever gave you the link.'
    const own = 'What you entered is used for uploads.'
    setText(at('#access-given p'), this.#access.isLent ? lent : own)
  }

  #askAccess(): void {
    at('#access').hidden = false
    at('#access-form').hidden = false
    at('#access-given').hidden = true
    at('#credential').focus()
  }
}

const RUNNING = ['waiting', 'active', 'joining']

new Page().start()
