"""What the server costs, measured beside its peers: `python -m benchmarks`.

`servers.py` starts servers and reads what they use, `workloads/` holds what is sent, `clients/` the
programs that send it, `rounds.py` runs servers in alternation, `report.py` writes the page
docs/performance.md.
`request_path.py` and `large_store.py` are programs of their own.
"""
