"""The bank's short form: everything at once, and all that was seen compared with the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.databases import Cluster
from proof import history
from proof.bank import HOT, Bank, Report, Targets, Violation
from proof.judge import Operation, judge, judge_session
from proof.runs import bank_house, play

SEED = 20261122
OPERATIONS = 1_500
CHECKED_EVERY = 0.5  # seconds

Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
async def played(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    """A run, and its history."""
    path = tmp_path_factory.mktemp("bank") / f"bank-{SEED}.jsonl"
    with bank_house(cluster) as targets:
        return await play(targets, "bank", SEED, operations=OPERATIONS, keep=path, checked_every=CHECKED_EVERY), path


def test_what_32_clients_saw_is_what_the_model_says(played: tuple[Report, Path]) -> None:
    report, _ = played
    assert report.operations >= OPERATIONS
    assert report.checks > 2, "the last one comes when all is over"
    assert report.movements > OPERATIONS / 4, report


def test_the_load_met_what_it_is_for(played: tuple[Report, Path]) -> None:
    _, path = played
    lines = list(history.read(path))
    codes = {line["code"] for line in lines if line.get("outcome") == history.REFUSED}
    assert codes >= {
        "insufficient_credits", "version_conflict", "idempotency_key_reused", "rolled_back",
        "reversal_exceeds_spend", "session_ended", "invalid_refresh_token", "email_taken",
    }  # fmt: skip
    movements = [line["movement"] for line in lines if "movement" in line]
    assert {movement["type"] for movement in movements} == {"bonus", "usage", "adjustment", "refund"}
    assert any((movement["window"] or 0) > 1 for movement in movements), "no days went by"
    assert sum(line.get("replayed", False) for line in lines) > OPERATIONS / 20
    assert any("order" in line for line in lines)


async def test_a_failure_without_words_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def fail(_: Bank) -> Report:
        raise TimeoutError

    monkeypatch.setattr(Bank, "run", fail)
    with pytest.raises(Violation, match=r"^TimeoutError\nseed 7; the history is "):
        await play(Targets("", "", ""), "bank", 7, keep=tmp_path / "history.jsonl")


# ---------------------------------------------------------------- the judge itself


@pytest.fixture(scope="module")
def busy(played: tuple[Report, Path]) -> Lines:
    """What the history says of the hot users: of one alone it may lack what a lie is about."""
    _, path = played
    chosen, numbers = [], set()
    emails = {f"user-{number}@example.com" for number in range(HOT)}
    for line in history.read(path):
        if line.get("user", HOT) < HOT:
            numbers.add(line["n"])
        about = line.get("account") or line.get("movement") or {}
        if line.get("n") in numbers or about.get("email") in emails or "order" in line:
            chosen.append(line)
    return chosen


def judged(lines: Lines, tmp_path: Path) -> list[str]:
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"\n".join(msgspec.json.encode(line) for line in lines))
    return judge(path)


def test_an_honest_history_has_no_problems(busy: Lines, tmp_path: Path) -> None:
    assert judged(busy, tmp_path) == []


def done(lines: Lines, op: str, fits: Callable[[dict[str, Any], dict[str, Any]], bool]) -> tuple[Any, Any]:
    """The last operation of this kind that fits: as it was invoked, and as it was done."""
    asked = {line["n"]: line for line in lines if line.get("op") == op}
    return [
        (asked[line["n"]], line)
        for line in lines
        if "outcome" in line and line["n"] in asked and fits(asked[line["n"]], line)
    ][-1]


def lose_a_spend(lines: Lines) -> None:
    lines.remove([line for line in lines if line.get("movement", {}).get("type") == "usage"][-1])


def lose_a_grant(lines: Lines) -> None:
    lines.remove([line for line in lines if line.get("movement", {}).get("window")][-1])


def lose_an_order(lines: Lines) -> None:
    _, answer = done(lines, "use", lambda asked, answer: asked.get("orders", False) and answer["outcome"] == "ok")
    lines.remove({"order": {"id": answer["id"]}})


def lose_a_gift(lines: Lines) -> None:
    asked, answer = done(lines, "give", lambda asked, answer: answer["outcome"] == "ok")
    lines += [{**asked, "n": 0, "text": "another gift"}, {**answer, "n": 0}]


def book_a_gift_twice(lines: Lines) -> None:
    """The second time after all else of its user, as if the first one had had no answer."""
    asked, answer = done(lines, "give", lambda asked, answer: answer["outcome"] == "ok")
    answer["outcome"] = "unknown"
    movements = [line["movement"] for line in lines if "movement" in line]
    gift = next(movement for movement in movements if movement["description"] == asked["text"])
    last = [movement for movement in movements if movement["email"] == gift["email"]][-1]
    free, amount = asked["free"], gift["amount"]
    again = {
        "id": "another", "before": last["after"], "after": last["after"] + amount, "free": last["free"] + free,
        "spent": last["spent"], "version": last["version"] + 1, "at": last["at"] + 60,
    }  # fmt: skip
    lines.append({"movement": {**gift, **again}})
    [account] = [line["account"] for line in lines if line.get("account", {}).get("email") == gift["email"]]
    account["free"] += free
    account["paid"] += amount - free
    account["earned"] += amount
    account["version"] += 1


def book_a_gift_before_it_was_given(lines: Lines) -> None:
    asked, answer = done(lines, "give", lambda asked, answer: answer["outcome"] == "ok")
    asked["at"] = answer["at"]


def book_a_gift_after_its_answer(lines: Lines) -> None:
    asked, answer = done(lines, "give", lambda asked, answer: answer["outcome"] == "ok")
    answer["at"] = asked["at"]


def answer_a_gift_with_another_id(lines: Lines) -> None:
    _, answer = done(lines, "give", lambda asked, answer: answer["outcome"] == "ok")
    answer["id"] = "another"


def answer_a_gift_with_an_old_version(lines: Lines) -> None:
    _, answer = done(lines, "give", lambda asked, answer: answer["outcome"] == "ok")
    answer["version"] -= 1


def lose_what_was_given_back(lines: Lines) -> None:
    _, answer = done(lines, "reverse", lambda asked, answer: answer["outcome"] == "ok")
    answer["id"] = "another"


def give_back_to_the_other_part(lines: Lines) -> None:
    refund = [line["movement"] for line in lines if line.get("movement", {}).get("type") == "refund"][-1]
    refund["free"] += 1


def give_back_what_nobody_asked_for(lines: Lines) -> None:
    asked, _ = done(
        lines, "reverse", lambda asked, answer: answer["outcome"] == "ok" and asked["amount"] and not answer["replayed"]
    )
    for line in lines:
        if line.get("op") == "reverse" and (line["spend"], line["key"]) == (asked["spend"], asked["key"]):
            line["amount"] = 12345


def refuse_to_give_back_without_reason(lines: Lines) -> None:
    _, answer = done(lines, "reverse", lambda asked, answer: answer["outcome"] == "ok")
    answer.update(outcome="refused", status=404, code="not_found")


def refuse_what_was_made(lines: Lines) -> None:
    _, answer = done(lines, "use", lambda asked, answer: asked["key"] is None and answer["outcome"] == "ok")
    answer.update(outcome="refused", status=402, code="insufficient_credits")


def refuse_without_reason(lines: Lines) -> None:
    asked, _ = done(lines, "use", lambda asked, answer: answer["status"] == 402)
    for line in lines:
        if line.get("request") == asked["request"]:
            line["amount"] = 0


def answer_a_retry_otherwise(lines: Lines) -> None:
    _, answer = done(lines, "use", lambda asked, answer: answer.get("replayed", False))
    answer["after"] += 1


def answer_twice_as_the_first(lines: Lines) -> None:
    _, answer = done(lines, "use", lambda asked, answer: answer.get("replayed", False))
    answer["replayed"] = False


def show_another_balance(lines: Lines) -> None:
    _, answer = done(lines, "balance", lambda asked, answer: answer["outcome"] == "ok")
    answer["free"] += 1


def show_an_old_balance(lines: Lines) -> None:
    _, answer = done(lines, "balance", lambda asked, answer: answer["outcome"] == "ok")
    _, old = done(
        lines, "balance", lambda asked, old: old["outcome"] == "ok" and old["version"] < answer["version"] - 9
    )
    answer.update({name: old[name] for name in ("free", "paid", "earned", "spent", "next", "version")})


def keep_another_balance(lines: Lines) -> None:
    line = next(line for line in lines if "account" in line)
    line["account"]["paid"] += 1


def end_a_session_without_reason(lines: Lines) -> None:
    _, answer = done(lines, "balance", lambda asked, answer: "session" in asked and answer["outcome"] == "ok")
    answer.update(outcome="refused", status=401, code="session_ended")


def end_a_session_that_a_backend_has_not(lines: Lines) -> None:
    _, answer = done(lines, "use", lambda asked, answer: "session" not in asked and answer["status"] == 402)
    answer.update(status=401, code="session_ended")


def let_ended_sessions_live(lines: Lines) -> None:
    refused = {line["n"] for line in lines if line.get("status") == 401}
    ended = {line["session"] for line in lines if line.get("op") == "use" and line["n"] in refused}
    ends = {line["n"] for line in lines if line.get("session") in ended and line["op"] in {"logout", "refresh"}}
    lines[:] = [line for line in lines if line.get("n") not in ends]


def give_another_successor(lines: Lines) -> None:
    successors = [line["token"] for line in lines if line.get("outcome") == "ok" and "token" in line]
    twice = {token for token in successors if successors.count(token) > 1}
    _, answer = done(lines, "refresh", lambda asked, answer: answer["outcome"] == "ok" and answer["token"] in twice)
    answer["token"] = "another"


def create_an_account_before_it_was_asked_for(lines: Lines) -> None:
    asked, answer = done(lines, "register", lambda asked, answer: answer["outcome"] == "ok")
    asked["at"] = answer["at"]


def take_an_address_that_nobody_has(lines: Lines) -> None:
    asked, answer = done(lines, "register", lambda asked, answer: answer["outcome"] == "ok")
    user, email = asked["user"], f"user-{asked['user']}@example.com"
    theirs = {line["n"] for line in lines if line.get("user") == user}
    lines[:] = [
        line
        for line in lines
        if line.get("n") not in theirs and (line.get("account") or line.get("movement") or {}).get("email") != email
    ]
    answer.update(outcome="refused", status=409, code="email_taken")
    lines += [asked, answer]


def take_an_address_before_somebody_has_it(lines: Lines) -> None:
    asked, _ = done(lines, "register", lambda asked, answer: answer["outcome"] == "ok")
    before = asked["at"] - 60
    refused = {"n": 0, "outcome": "refused", "at": before, "status": 409, "code": "email_taken"}
    lines[:0] = [{**asked, "n": 0, "at": before}, refused]


def fail_with_500(lines: Lines) -> None:
    _, answer = done(lines, "use", lambda asked, answer: answer["status"] == 402)
    answer.update(status=500, code="internal_error")


@pytest.mark.parametrize(
    "lie",
    [
        lose_a_spend, lose_a_grant, lose_an_order, lose_a_gift, book_a_gift_twice,
        book_a_gift_before_it_was_given, book_a_gift_after_its_answer, answer_a_gift_with_another_id,
        answer_a_gift_with_an_old_version, refuse_what_was_made, refuse_without_reason,
        lose_what_was_given_back, give_back_to_the_other_part, give_back_what_nobody_asked_for,
        refuse_to_give_back_without_reason,
        answer_a_retry_otherwise, answer_twice_as_the_first, show_another_balance, show_an_old_balance,
        keep_another_balance, end_a_session_without_reason, end_a_session_that_a_backend_has_not,
        let_ended_sessions_live, give_another_successor, create_an_account_before_it_was_asked_for,
        take_an_address_that_nobody_has, take_an_address_before_somebody_has_it, fail_with_500,
    ],
)  # fmt: skip
def test_the_judge_sees(lie: Callable[[Lines], None], busy: Lines, tmp_path: Path) -> None:
    lines = [msgspec.json.decode(msgspec.json.encode(line)) for line in busy]
    lie(lines)
    assert judged(lines, tmp_path) != []


def test_what_was_done_while_the_clock_was_moved_may_lie_between() -> None:
    """A refresh that took until the clock had been moved twice was done after the first time: the same again
    is a retry then, and a theft after the second time. At neither end of its span would it be both."""
    spans = [(0, 0, "login", None, "a"), (1, 7_210, "refresh", "a", "b"), (3_605, 7_211, "refresh", "a", "b")]
    operations = [
        Operation(
            {"n": number, "op": op, "at": low, **({"token": presented} if presented else {})},
            first=0,
            floor=0,
            answer={"outcome": history.OK, "at": high, "token": given},
        )
        for number, (low, high, op, presented, given) in enumerate(spans)
    ]
    theft = Operation(
        {"n": 3, "op": "refresh", "at": 7_215, "token": "a"},
        first=0,
        floor=0,
        answer={"outcome": history.REFUSED, "status": 401, "at": 7_216},
    )
    assert list(judge_session([*operations, theft])) == []
