"""What is done with an upload, without a word of HTTP (floor 4)."""
