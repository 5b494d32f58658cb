// The few things that all parts of the page do with its elements.

/** Find an element that the page's HTML has. */
export function at<E extends Element = HTMLElement>(selector: string): E {
  const found = document.querySelector<E>(selector)
  if (found === null) throw new Error(`the page has no ${selector}`)
  return found
}

export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = '',
  text = '',
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag)
  element.className = className
  element.textContent = text
  return element
}

/** A button that says to those who do not see the card which file it is about. */
export function button(text: string, about: string, press: () => void): HTMLButtonElement {
  const element = make('button', 'button')
  element.type = 'button'
  name(element, text, about)
  element.addEventListener('click', press)
  return element
}

export function name(element: HTMLElement, text: string, about: string): void {
  setText(element, text)
  element.setAttribute('aria-label', `${text}: ${about}`)
}

export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

/** Copy by a button, which says for a moment that it did. */
export function copier(label: string, about: string, text: () => string): HTMLButtonElement {
  const element = button(label, about, () => {
    copy(text()).then(
      () => {
        name(element, 'Copied', about)
        say(`Copied: ${about}`)
        setTimeout(() => name(element, label, about), 2000)
      },
      () => name(element, 'Not allowed', about),
    )
  })
  return element
}

async function copy(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text)
  // Pages over plain HTTP have no clipboard but this.
  const area = make('textarea', 'unseen')
  area.value = text
  document.body.append(area)
  area.select()
  const done = document.execCommand('copy')
  area.remove()
  if (!done) throw new Error('not copied')
}

/** Tell those who listen to the page, when they have listened to the end of what they hear. */
export function say(text: string): void {
  at('#news').textContent = text
}

/** Tell them at once. */
export function warn(text: string): void {
  at('#alarm').textContent = text
}

/** Move the focus out of something that goes away, so that it is not lost. */
export function leave(card: HTMLElement, fallback: HTMLElement): void {
  if (!card.contains(document.activeElement)) return
  const next = card.nextElementSibling ?? card.previousElementSibling
  const target = next?.querySelector<HTMLElement>('a[href], button:not([hidden])') ?? fallback
  target.focus()
}
