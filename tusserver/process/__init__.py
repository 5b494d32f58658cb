"""The program as processes (floor 5): sockets, a parent and its workers, systemd.

Only the standard library; nothing here knows HTTP, uploads or event loops of workers.
"""
