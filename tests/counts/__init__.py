"""What a request makes the server do, counted, so that no change makes it dearer unnoticed."""
