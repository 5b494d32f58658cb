// Shows Uppy's Dashboard, which uploads with tus; bundled for the page by the test.

import Uppy from '@uppy/core'
import Dashboard from '@uppy/dashboard'
import GoldenRetriever from '@uppy/golden-retriever'
import Tus from '@uppy/tus'

import '@uppy/core/css/style.min.css'
import '@uppy/dashboard/css/style.min.css'

const REMEMBER = 'remember'

window.begin = ({ ways, options }) => {
  const uppy = new Uppy()
  uppy.use(Dashboard, { target: '#dashboard', inline: true, proudlyDisplayPoweredByUppy: false })
  uppy.use(Tus, { onAfterResponse: sayAnswer, ...options })
  uppy.on('upload-success', (file, { uploadURL }) =>
    say('success', { name: file.name, url: uploadURL }),
  )
  uppy.on('upload-error', (file, error) => sayError(error, { name: file.name }))
  uppy.on('upload-progress', () => {
    const files = uppy.getFiles()
    sayProgress(files.reduce((sum, { progress }) => sum + (progress.bytesUploaded || 0), 0))
  })
  uppy.on('restored', () => say('restored'))
  uppy.on('complete', ({ successful, failed }) =>
    say('complete', { successful: successful.length, failed: failed.length }),
  )
  if (ways.includes(REMEMBER)) uppy.use(GoldenRetriever)
}
