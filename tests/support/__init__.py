"""What the tests are made with: servers, clients, faults; nothing here is a test."""
