"""Data files and the ledger beside them (floor 4)."""
