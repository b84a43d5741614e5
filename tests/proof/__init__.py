"""What the proofs stand on that is more than a test: harnesses, models, faults."""
