"""The records that requests read and processes share (floor 4)."""
