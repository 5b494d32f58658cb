"""What the server costs, measured beside its peers: `python -m benchmarks`.

`servers.py` starts servers and reads what they use, `workloads/` holds what is sent, `clients/` the
programs that send it, `rounds.py` runs servers in alternation, `report.py` writes the page
docs/performance.md.
`stores.py` makes stores with many uploads; `request_path.py` is a program of its own.
"""
