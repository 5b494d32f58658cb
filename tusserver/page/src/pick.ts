// Files that people drop or choose.

import { at } from './dom'
import type { Sent } from './records'

const MOST_FILES = 2000

/** Hand on what is dropped anywhere on the page, or chosen. */
export function watchFiles(take: (files: Sent[]) => void): void {
  const input = at<HTMLInputElement>('#files')
  input.addEventListener('change', () => {
    const files = Array.from(input.files ?? [])
    // So that the same file can be chosen again.
    input.value = ''
    if (files.length > 0) take(files)
  })
  let depth = 0
  const mark = () => document.body.classList.toggle('dragged', depth > 0)
  addEventListener('dragenter', (event) => {
    if (!event.dataTransfer?.types.includes('Files')) return
    depth += 1
    mark()
  })
  addEventListener('dragleave', () => {
    depth = Math.max(0, depth - 1)
    mark()
  })
  addEventListener('dragover', (event) => event.preventDefault())
  addEventListener('drop', (event) => {
    event.preventDefault()
    depth = 0
    mark()
    if (event.dataTransfer !== null) void dropped(event.dataTransfer).then(take)
  })
}

/** Give the files that were dropped, with those in folders. */
async function dropped(transfer: DataTransfer): Promise<Sent[]> {
  // The list is emptied as soon as the event is over.
  const entries = Array.from(transfer.items, (item) => item.webkitGetAsEntry?.() ?? null)
  const plain = Array.from(transfer.files)
  if (!entries.some((entry) => entry?.isDirectory)) return plain
  const files: Sent[] = []
  for (const entry of entries) if (entry !== null) await walk(entry, files)
  return files
}

async function walk(entry: FileSystemEntry, files: Sent[]): Promise<void> {
  if (files.length >= MOST_FILES) return
  if (entry.isFile) {
    const file: Sent = await new Promise((resolve, reject) => {
      ;(entry as FileSystemFileEntry).file(resolve, reject)
    })
    file.path = entry.fullPath.replace(/^\//, '')
    files.push(file)
    return
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader()
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => {
      reader.readEntries(resolve, reject)
    })
    if (some.length === 0) return
    for (const one of some) await walk(one, files)
  }
}
