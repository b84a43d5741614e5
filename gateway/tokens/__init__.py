"""Access tokens, the keys that sign them, and password digests."""
