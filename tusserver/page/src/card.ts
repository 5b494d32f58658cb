// What is seen of one upload.

import { button, copier, make, name, say, setText, warn } from './dom'
import { pathOf } from './records'
import type { Settings } from './settings'
import type { State, Transfer } from './transfer'
import { duration, explain, size } from './words'

export interface Wishes {
  proceed(transfer: Transfer): void
  pause(transfer: Transfer): void
  cancel(transfer: Transfer): void
  clear(transfer: Transfer): void
}

const MAIN: { [state in State]?: string } = {
  waiting: 'Pause',
  active: 'Pause',
  joining: 'Pause',
  paused: 'Resume',
  failed: 'Try again',
}

export class Card {
  readonly element = make('li', 'card')
  readonly #status = make('p', 'status')
  readonly #bar = make('progress')
  readonly #digest = make('p', 'digest')
  readonly #note = make('p', 'quiet')
  readonly #main: HTMLButtonElement
  readonly #hurry: HTMLButtonElement
  readonly #cancel: HTMLButtonElement
  readonly #clear: HTMLButtonElement
  readonly #link: HTMLAnchorElement
  readonly #copyLink: HTMLButtonElement
  readonly #copyDigest: HTMLButtonElement
  #state: State | null = null
  #waited = false

  constructor(
    private readonly transfer: Transfer,
    private readonly settings: Settings,
    private readonly usesToken: () => boolean,
    wishes: Wishes,
  ) {
    const about = transfer.file.name
    const title = make('div', 'title')
    title.append(make('h3', 'name', pathOf(transfer.file)), make('span', 'size', size(transfer.file.size)))
    this.#bar.max = 1000
    this.#bar.setAttribute('aria-label', `Progress of ${about}`)
    this.#main = button('Pause', about, () => {
      if (['active', 'waiting', 'joining'].includes(transfer.state)) wishes.pause(transfer)
      else wishes.proceed(transfer)
    })
    this.#hurry = button('Try now', about, () => transfer.hurry())
    this.#cancel = button('Cancel', about, () => wishes.cancel(transfer))
    this.#clear = button('Clear', about, () => wishes.clear(transfer))
    this.#link = openLink(about)
    this.#copyLink = copier('Copy link', about, () => transfer.url)
    this.#copyDigest = copier('Copy SHA-256', about, () => transfer.digest)
    const actions = make('div', 'actions')
    actions.append(
      this.#link, this.#main, this.#hurry, this.#copyLink, this.#copyDigest, this.#cancel, this.#clear,
    )
    this.element.append(title, this.#bar, this.#status, this.#note, this.#digest, actions)
    this.update()
  }

  update(): void {
    const { transfer } = this
    const { state, waitsFor } = transfer
    this.element.dataset.state = state
    this.element.classList.toggle('is-waiting', waitsFor !== null)
    this.#bar.hidden = state === 'done' || state === 'failed'
    const total = transfer.file.size
    const share = total === 0 ? 0 : transfer.sent / total
    this.#bar.value = Math.floor(share * 1000)
    setText(this.#status, this.#statusText())
    setText(this.#note, transfer.note)
    this.#note.hidden = transfer.note === ''
    this.#showDigest()
    this.#showActions()
    this.#announce()
  }

  #statusText(): string {
    const { transfer } = this
    const total = transfer.file.size
    switch (transfer.state) {
      case 'waiting':
        return 'Waits for its turn'
      case 'joining':
        return 'All is sent; the server puts it together'
      case 'paused':
        return `Paused at ${size(transfer.sent)} of ${size(total)}`
      case 'blocked':
      case 'failed':
        return transfer.problem
      case 'done':
        return 'Finished'
      case 'cancelled':
        return 'Cancelled'
      case 'active':
        return this.#flow()
    }
  }

  #flow(): string {
    const { transfer } = this
    const { waitsFor } = transfer
    if (waitsFor !== null) {
      const pause = Math.ceil(transfer.pause)
      const when = pause > 0 ? `It tries again in ${pause} s.` : 'It tries again.'
      return `${explain(waitsFor, this.settings)} ${when}`
    }
    const total = transfer.file.size
    const percent = total === 0 ? 0 : Math.floor((transfer.sent / total) * 100)
    const texts = [`${percent} %`, `${size(transfer.sent)} of ${size(total)}`]
    const speed = transfer.speed.get()
    if (speed !== null && transfer.sent >= total) texts.push('waits for the server')
    else if (speed !== null && speed < 1) texts.push('stalled')
    else if (speed !== null) {
      texts.push(`${size(speed)}/s`, `${duration((total - transfer.sent) / speed)} left`)
    }
    return texts.join(' · ')
  }

  #showDigest(): void {
    const { transfer } = this
    const { digest, digested, digestFailed, file } = transfer
    this.#digest.hidden = digest === '' && digested === 0
    if (digestFailed) setText(this.#digest, 'The checksum could not be computed')
    else if (digest !== '') {
      const label = transfer.isVerified ? 'SHA-256, the same on the server: ' : 'SHA-256: '
      if (this.#digest.textContent !== label + digest) {
        this.#digest.replaceChildren(label, make('code', '', digest))
      }
    } else setText(this.#digest, `SHA-256: ${Math.floor((digested / file.size) * 100)} % read`)
  }

  #showActions(): void {
    const { transfer } = this
    const { state } = transfer
    const about = transfer.file.name
    const hadFocus = this.element.contains(document.activeElement)
    const main = MAIN[state]
    this.#main.hidden = main === undefined || (state === 'failed' && !transfer.canRetry)
    if (main !== undefined) name(this.#main, main, about)
    this.#hurry.hidden = !(state === 'active' && transfer.waitsFor !== null)
    const isOver = state === 'done'
    const opens = isOver && this.settings.download && !this.usesToken()
    if (opens) this.#link.href = transfer.url
    this.#link.hidden = !opens
    this.#copyLink.hidden = !isOver || !this.settings.download
    this.#copyDigest.hidden = !isOver || transfer.digest === ''
    this.#cancel.hidden = isOver
    this.#clear.hidden = !isOver
    name(this.#cancel, state === 'failed' ? 'Remove' : 'Cancel', about)
    // A button that is hidden loses the focus, at once or a little later.
    const focused = document.activeElement as HTMLElement | null
    if (hadFocus && (focused?.hidden || !this.element.contains(focused))) {
      this.element.querySelector<HTMLElement>('.actions :not([hidden])')?.focus()
    }
  }

  /** Say what changed, but for what who pressed a button knows. */
  #announce(): void {
    const { state, problem, file, waitsFor } = this.transfer
    if (state !== this.#state) {
      if (state === 'done') say(`${file.name}: finished`)
      if (state === 'failed' || state === 'blocked') warn(`${file.name}: ${problem}`)
      if (state === 'paused') say(`${file.name}: paused`)
    }
    const waits = waitsFor !== null
    if (waits && !this.#waited) {
      say(`${file.name}: ${explain(waitsFor, this.settings)} It tries again by itself.`)
    }
    this.#state = state
    this.#waited = waits
  }
}

export function openLink(about: string): HTMLAnchorElement {
  const link = make('a', 'button primary')
  name(link, 'Open', about)
  link.target = '_blank'
  link.rel = 'noopener noreferrer'
  return link
}
