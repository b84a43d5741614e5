"""Weak passwords: what everybody guesses is found, in bounded time, and nothing else is."""

from __future__ import annotations

import random
import time

import pytest

from gateway.tokens.weak_passwords import weakness

ADA = ("ada.lovelace@example.com", "Ada Lovelace")
LEET = "4@8({[<3&6!1|/\\0$5+7%2"


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("password", "top-10"),
        ("12345678", "top-10"),
        ("\uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff44", "top-10"),
        ("passw0rd", "commonly used"),
        ("Passwort1", "commonly used"),
        ("qwertzuiop", "very common"),
        ("dragon2024", "commonly used"),
        (" " * 8, "Repeats"),
        ("\u200b" * 8, "Repeats"),
        ("x" * 128, "Repeats"),
        ("password" * 16, "Repeats"),
        ("1234567890" * 5 + "x", "Repeats"),
        ("manacore", "Add another word"),
        ("ada.lovelace@example.com", "your e-mail address or your name"),
        ("ADA.LOVELACE@EXAMPLE.COM!!", "your e-mail address or your name"),
        ("adalovelace", "your e-mail address or your name"),
        ("AdaLovelace1815", "your e-mail address or your name"),
        ("example.com", "your e-mail address or your name"),
    ],
)  # fmt: skip
def test_what_everybody_guesses_is_weak_and_a_sentence_says_why(password: str, why: str) -> None:
    reason = weakness(password, ADA)
    assert reason
    assert why in reason


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery", "kartoffelsalat", "Žluťoučký kůň", "Tr0ub4dour&3", "   spaces   ",
        "\u0001\u007f\u2028 fine", "wX7#kq2P", "the countess wrote notes on the engine", "a" * 40 + "wX7#kq2P",
        "adalovelace and 31 sheep",
    ],
)  # fmt: skip
def test_others_are_not(password: str) -> None:
    assert weakness(password, ADA) is None


@pytest.mark.parametrize("known", [(), (None, None), ("", ""), ("no address", "x"), ("@", "😀")])
def test_a_person_may_be_called_anything(known: tuple[str | None, ...]) -> None:
    assert weakness("correct horse battery", known) is None
    assert weakness("password", known)


def test_no_text_takes_long() -> None:
    drawn = random.Random(1)
    known = ("a" * 64 + "@" + "b." * 90 + "com", " ".join(f"abc{n}" for n in range(60)))
    texts = [
        LEET * 6,
        *("".join(drawn.choices(LEET, k=128)) for _ in range(5)),
        "".join(drawn.choices("p4$$w0rd", k=128)),
        "".join(drawn.choices("0123456789", k=128)),
        "aab" * 43,
        "\ufdfa" * 128,
        ("password" * 3 + "12345678" * 3 + "qwertyui" * 3) * 2,
    ]
    weakness("warm")
    for text in texts:
        started = time.process_time()
        weakness(text[:128], known)
        assert time.process_time() - started < 0.5, text
