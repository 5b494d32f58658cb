"""A conformance suite for servers of the tus resumable upload protocol, version 1.0."""
