"""Sends small uploads for as long as large ones are being sent beside them.

Order: that of `bulk` as `large` and that of `small`, without its `seconds`, as `small`. Answer:
`large` and `small`, with what those clients answer. The large bodies are sent by a process of its
own, which gives way to the other: in the world they come from other machines.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from benchmarks.clients import small

SLICE = 0.2
"""Seconds after which is looked whether the large bodies are through."""
GIVES_WAY = 5


def main() -> None:
    """Carry out the order."""
    order = json.load(sys.stdin)
    mine = order["small"]
    place = (mine["place"][0], mine["place"][1])
    senders = [small.Sender(place, mine["path"], mine["size"]) for _ in range(mine["connections"])]
    large = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.clients.bulk"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=_give_way,  # noqa: PLW1509 - there are no threads here
    )
    if large.stdin is None or large.stdout is None:
        raise RuntimeError("the client of large bodies cannot be spoken to")
    large.stdin.write(json.dumps(order["large"]).encode())
    large.stdin.close()
    took: dict[str, list[float]] = {verb: [] for verb in small.EXPECTED}
    seconds = 0.0
    while large.poll() is None:
        passed, some = small.run(senders, SLICE)
        seconds += passed
        for verb, times in some.items():
            took[verb] += times
    if large.returncode:
        sys.exit(1)
    answers = {
        "large": json.loads(large.stdout.read()),
        "small": {"uploads": len(took["HEAD"]), "seconds": seconds, "took": took},
    }
    json.dump(answers, sys.stdout)


def _give_way() -> None:
    os.nice(GIVES_WAY)


if __name__ == "__main__":
    main()
