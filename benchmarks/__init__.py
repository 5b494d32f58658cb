"""What the server costs, measured; nothing here is run by the tests."""
