"""The proof harness: a model of the service, loads, faults, and a judge of what they did."""
