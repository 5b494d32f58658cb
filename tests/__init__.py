"""The tests; `python3 -m tests` brings what they need and runs them."""
