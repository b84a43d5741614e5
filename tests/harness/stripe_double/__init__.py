"""A double of Stripe: as much of its API as sells credits, with a page to pay on, a clock and faults of its own.

Stripe's own library judges it: it parses each answer and accepts each signature.
"""

from harness.stripe_double.double import Double, Fault

__all__ = ["Double", "Fault"]
