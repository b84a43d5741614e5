"""The long forms of the proofs: make soak ARGS="NAME --help" says what each takes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "py"))

import enumeration
import fuzz

PROOFS = {"fuzz": fuzz, "enumeration": enumeration}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    subparsers = parser.add_subparsers(dest="proof", required=True)
    for name, proof in PROOFS.items():
        proof.add_arguments(subparsers.add_parser(name, description=proof.__doc__))
    arguments = parser.parse_args()
    return PROOFS[arguments.proof].main(arguments)


if __name__ == "__main__":
    sys.exit(main())
