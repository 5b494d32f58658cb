// Makes the page: `node build.mjs SOURCES OUTPUT`, beside the node_modules of package.json. What
// it writes is named after its content, but for index.html.

import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, extname, join } from 'node:path'
import { build } from 'esbuild'

const [sources, output] = process.argv.slice(2)
const assets = join(output, 'assets')
mkdirSync(assets, { recursive: true })

const here = import.meta.dirname
const bundled = new Set()

async function bundle(entry) {
  const made = await build({
    entryPoints: [join(sources, entry)],
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    target: ['chrome105', 'firefox113', 'safari16.2'],
    nodePaths: [join(here, 'node_modules')],
    legalComments: 'none',
    metafile: true,
    logLevel: 'warning',
  })
  for (const input of Object.keys(made.metafile.inputs)) {
    const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)
    if (found) bundled.add(found[1])
  }
  return made.outputFiles[0].contents
}

/** The licences of what is bundled have to go with it. */
function licences() {
  const texts = [...bundled].sort().map((name) => {
    const folder = join(here, 'node_modules', name)
    const { version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one))
    const text = file ? readFileSync(join(folder, file), 'utf8') : `Licence: ${license}\n`
    return `${name} ${version}\n\n${text}`
  })
  return texts.join('\n----\n\n')
}

function keep(entry, kind, contents) {
  const digest = createHash('sha256').update(contents).digest('hex').slice(0, 16)
  const name = `${basename(entry, extname(entry))}-${digest}${kind}`
  writeFileSync(join(assets, name), contents)
  return `page/${name}`
}

const names = {
  app: keep('app.ts', '.js', await bundle('app.ts')),
  worker: keep('digest-worker.ts', '.js', await bundle('digest-worker.ts')),
  style: keep('style.css', '.css', await bundle('style.css')),
  icon: keep('icon.svg', '.svg', readFileSync(join(sources, 'icon.svg'))),
  licences: keep('licences.txt', '.txt', licences()),
}
let page = readFileSync(join(sources, 'index.html'), 'utf8')
for (const [name, path] of Object.entries(names)) page = page.replaceAll(`{{${name}}}`, path)
writeFileSync(join(output, 'index.html'), page)
