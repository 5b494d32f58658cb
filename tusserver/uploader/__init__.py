"""The client of the command line: sends files to any tus 1.0 server (floor 5).

Why it does not stand on tuspy 1.1.0, which was looked at first: that reads each chunk into memory
(by default the whole file), sends SHA-1 only, sets no time-out, so that a silent connection hangs
for ever, takes any answer with a `Location` or an `Upload-Offset` for success, never tries a
creation again, pauses for one fixed time whatever `Retry-After` says, knows neither
concatenation nor deferred lengths, tells no progress within a chunk, and keeps URLs by the first
64 KiB and the size of a file, so that two files that begin alike are one to it, whichever server
they go to. What remains is the encoding of metadata, which `protocol/headers.py` has. aiohttp's
client is here anyway; it streams, and parts are sent side by side by one thread.
"""

from tusserver.uploader.bookmarks import state_folder
from tusserver.uploader.faults import Unsupported
from tusserver.uploader.order import ANY_ALGORITHM, Order, check_endpoint, shown_url
from tusserver.uploader.reporting import Bars, JsonLines, Quiet, Reporter
from tusserver.uploader.run import STDIN, Outcome, upload_all
from tusserver.uploader.source import CHECKSUMS

__all__ = [
    "ANY_ALGORITHM",
    "CHECKSUMS",
    "STDIN",
    "Bars",
    "JsonLines",
    "Order",
    "Outcome",
    "Quiet",
    "Reporter",
    "Unsupported",
    "check_endpoint",
    "shown_url",
    "state_folder",
    "upload_all",
]
