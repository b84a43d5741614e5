"""The one way in which tests, proofs and measurements start the parts and talk to the service."""
