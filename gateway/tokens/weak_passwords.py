"""Passwords that everybody guesses: found offline, by the lists and patterns of zxcvbn and the names of the person.

A password that a user has already is not looked at: it goes on working.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from zxcvbn_rs_py import zxcvbn

MIN_GUESSES = 10**6  # zxcvbn calls very guessable what is below
CHUNK = 24  # characters: an estimate takes 45 ms at worst; of 128 characters it would take four seconds
LENGTH = 128  # characters that are looked at: in their compatibility form, one may become 18
_SERVICE = ("mana", "manacore")
_REPEATED = re.compile(rf"(.{{1,{CHUNK}}}?)\1{{2,}}", re.DOTALL)


def weakness(password: str, known: Iterable[str | None] = ()) -> str | None:
    """Why a password is easily guessed, in a sentence or two, or None. ``known`` is what the person is called."""
    words = _words(known)
    text = unicodedata.normalize("NFKC", password)[:LENGTH]
    if _is_made_of(text.casefold(), words):
        return "It is made of your e-mail address or your name."
    reason = "Add another word or two."
    text = _REPEATED.sub(r"\1\1", text)
    # It is at least as hard to guess as the hardest part of it.
    for start in range(0, len(text), CHUNK):
        found = zxcvbn(text[start : start + CHUNK], [*words, *_SERVICE])
        if found.guesses >= MIN_GUESSES:
            return None
        if start == 0 and found.feedback and found.feedback.warning:
            reason = f"{found.feedback.warning} {reason}"
    return reason


def _words(known: Iterable[str | None]) -> list[str]:
    """The texts and their parts, longest first."""
    texts = [unicodedata.normalize("NFKC", text).casefold() for text in known if text]
    parts = [part for text in texts for part in (text, text.partition("@")[0], *re.split(r"[\W_]+", text))]
    return sorted({part for part in parts if len(part) >= 3}, key=lambda part: (-len(part), part))


def _is_made_of(text: str, words: list[str]) -> bool:
    """Whether there is next to nothing in the text besides these words."""
    rest = text
    for word in words:
        rest = rest.replace(word, " ")
    return rest != text and sum(map(str.isalnum, rest)) < 5
