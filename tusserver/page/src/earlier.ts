// What earlier lives of the page left: uploads that did not end, and links of those that did.

import type { Access } from './access'
import { at, button, copier, leave, make, name, say, setText } from './dom'
import { openLink } from './card'
import type { Finished, Record as Kept, Records } from './records'
import { held } from './tabs'
import { type House, remove } from './transfer'
import { size } from './words'

const MOST_SHOWN = 50
const MOST_ASKED = 10

export class Earlier {
  readonly #section = at('#unfinished')
  readonly #list = at('#unfinished ul')
  readonly #cards = new Map<string, HTMLElement>()

  constructor(
    private readonly house: House,
    private readonly chooseAgain: (record: Kept) => void,
  ) {}

  /** Show what is left; ask the server how much of it is there. */
  async show(): Promise<void> {
    const busy = await held()
    const records = this.house.records.unfinished().filter((record) => !busy.has(record.key))
    for (const record of records.slice(0, MOST_SHOWN)) this.#add(record)
    this.#section.hidden = this.#cards.size === 0
    if (this.house.settings.wantsToken && !this.house.access.isGiven) return
    for (const record of records.slice(0, MOST_ASKED)) await this.#ask(record)
  }

  /** Take one off the list, because it goes on or is gone. */
  drop(key: string): void {
    const card = this.#cards.get(key)
    if (card === undefined) return
    leave(card, at('#files'))
    card.remove()
    this.#cards.delete(key)
    this.#section.hidden = this.#cards.size === 0
  }

  #add(record: Kept): void {
    if (this.#cards.has(record.key)) return
    const card = make('li', 'card')
    const title = make('div', 'title')
    title.append(make('h3', 'name', record.path), make('span', 'size', size(record.size)))
    const began = new Date(record.created).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' })
    const status = make('p', 'status', `Begun ${began}`)
    const actions = make('div', 'actions')
    const again = button('Choose the file again', record.name, () => this.chooseAgain(record))
    again.classList.add('primary')
    const discard = button('Discard', record.name, () => {
      this.house.records.forget(record.key)
      this.drop(record.key)
      say(`${record.name}: discarded`)
      for (const url of record.urls) if (url !== '') remove(this.house, url).catch(() => undefined)
    })
    actions.append(again, discard)
    card.append(title, status, actions)
    this.#cards.set(record.key, card)
    this.#list.append(card)
  }

  async #ask(record: Kept): Promise<void> {
    let there = 0
    for (const url of record.urls) {
      if (url === '') continue
      const response = await this.house.access.ask('HEAD', url).catch(() => null)
      if (response?.status === 404 && record.urls.length === 1) {
        this.house.records.forget(record.key)
        this.drop(record.key)
        return
      }
      if (!response?.ok) return
      there += Number(response.headers.get('Upload-Offset') ?? 0)
    }
    const status = this.#cards.get(record.key)?.querySelector('.status')
    const percent = record.size === 0 ? 0 : Math.floor((there / record.size) * 100)
    if (status) setText(status, `${percent} % is on the server (${size(there)} of ${size(record.size)})`)
  }
}

/** Show the links of what was finished before this tab was reloaded. */
export function showFinished(records: Records, access: Access, downloads: boolean): void {
  const section = at('#finished')
  const list = at('#finished ul')
  for (const one of records.finished()) {
    const card = finishedCard(one, access, downloads, () => {
      records.dropFinished(one.url)
      leave(card, at('#files'))
      card.remove()
      section.hidden = list.childElementCount === 0
    })
    list.append(card)
  }
  section.hidden = list.childElementCount === 0
}

function finishedCard(
  one: Finished,
  access: Access,
  downloads: boolean,
  clear: () => void,
): HTMLElement {
  const card = make('li', 'card')
  const title = make('div', 'title')
  title.append(make('h3', 'name', one.name), make('span', 'size', size(one.size)))
  card.append(title)
  if (one.digest !== '') {
    const digest = make('p', 'digest', 'SHA-256: ')
    digest.append(make('code', '', one.digest))
    card.append(digest)
  }
  const actions = make('div', 'actions')
  if (downloads) {
    const link = openLink(one.name)
    link.href = one.url
    link.addEventListener('click', () => {
      link.href = access.sign(one.url)
    })
    actions.append(link, copier('Copy link', one.name, () => access.sign(one.url)))
  }
  const cleared = button('Clear', one.name, clear)
  name(cleared, 'Clear', one.name)
  actions.append(cleared)
  card.append(actions)
  return card
}
