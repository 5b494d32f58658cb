"""`python3 -m conformance.mutants`: list, start and verify the broken servers."""

from __future__ import annotations

import argparse
import contextlib
import sys

from conformance.mutants import MUTANTS, TinyTus
from conformance.mutants.verify import verify


def main() -> int:
    """Do what the command line asks; give the exit status."""
    arguments = _parser().parse_args()
    if arguments.list:
        for one in MUTANTS.values():
            print(f"{one.name:<32} {one.defect} ({', '.join(one.clauses)})")
        return 0
    unknown = set(arguments.names) - set(MUTANTS)
    if unknown:
        print(f"There is no mutant {', '.join(sorted(unknown))}; --list tells which there are.")
        return 2
    if arguments.verify:
        return verify(arguments.names or list(MUTANTS))
    return _serve(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m conformance.mutants",
        description="Start a tiny tus server, correct or with one defect of its own.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a mutant; none: the correct one")
    parser.add_argument("--list", action="store_true", help="list the mutants and end")
    parser.add_argument("--verify", action="store_true", help="run the suite against each mutant")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=1080, help="the port, 0 for any that is free")
    parser.add_argument(
        "--lifetime", type=float, metavar="SECONDS", help="how long unfinished uploads live"
    )
    return parser


def _serve(arguments: argparse.Namespace) -> int:
    if len(arguments.names) > 1:
        print("One mutant at a time can be started.")
        return 2
    one = MUTANTS[arguments.names[0]] if arguments.names else None
    server = one.make() if one else TinyTus()
    server.lifetime = arguments.lifetime or server.lifetime
    with server.listen(arguments.host, arguments.port) as listening:
        port = listening.server_address[1]
        print(
            f"http://{arguments.host}:{port}{server.prefix}/", one.defect if one else "", flush=True
        )
        with contextlib.suppress(KeyboardInterrupt):
            listening.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
