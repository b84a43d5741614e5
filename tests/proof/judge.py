"""Judges a history: every movement, balance and answer must be what the model says.

The ledger gives the order of commit: it is replayed user by user on the model, each movement by the
operation that claims it, and what clients saw is compared with the model as of that movement. Sessions
have no ledger, but one client at a time: each is replayed in the order of its operations. Where an
outcome is unknown, or the time is not known to the last bit, the model goes on from each state that is
possible, and it is a problem when none fits what was seen.
"""

from __future__ import annotations

import copy
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from proof.doors import APP
from proof.history import OK, REFUSED, UNKNOWN, read
from proof.model import Model, Movement, Session, User

# The refusals that each operation may meet; 401 is for the sessions to judge, not_now is never a spend.
_REFUSALS = {
    "register": {(409, "email_taken")},
    "login": set(),
    "refresh": {(401, "invalid_refresh_token")},
    "logout": {(401, "session_ended"), (401, "invalid_refresh_token")},
    "balance": {(401, "session_ended"), (503, "not_now")},
    "give": set(),
    "reverse": {
        (404, "not_found"), (409, "reversal_exceeds_spend"), (422, "idempotency_key_reused"), (503, "not_now"),
    },
    "use": {
        (401, "session_ended"), (402, "insufficient_credits"), (409, "version_conflict"),
        (422, "idempotency_key_reused"), (0, "rolled_back"), (503, "not_now"),
    },
}  # fmt: skip

_MILLISECOND = 0.001001  # what HTTP shows of a time, and a little
_MUCH = timedelta(seconds=1)  # longer than an operation takes, unless the clock was moved meanwhile


@dataclass(slots=True, eq=False)
class Operation:
    """One attempt. ``first`` and ``last`` are the lines of the history at which it began and ended."""

    asked: dict[str, Any]
    first: int
    floor: int  # the newest version of the user's balance that was acknowledged before it began
    last: int | None = None
    answer: dict[str, Any] = field(default_factory=dict)

    @property
    def outcome(self) -> str:
        return self.answer.get("outcome", UNKNOWN)  # type: ignore[no-any-return]

    @property
    def status(self) -> int:
        return self.answer.get("status", 0)  # type: ignore[no-any-return]

    @property
    def low(self) -> datetime:
        return _time(self.asked["at"])

    @property
    def high(self) -> datetime:
        return _time(self.answer["at"]) if self.answer else datetime.max.replace(tzinfo=UTC)

    def may_date_from(self, at: datetime) -> bool:
        """Whether what came of it may have come at this time. What is unknown may come even later."""
        return self.low <= at and (self.outcome == UNKNOWN or at <= self.high)

    def __str__(self) -> str:
        return f"operation {self.asked['n']} ({self.asked['op']})"


def judge(path: Path) -> list[str]:
    """The problems of a history; none when the service kept its promises."""
    operations: dict[int, Operation] = {}
    of_user: defaultdict[int, list[Operation]] = defaultdict(list)
    floors: Counter[int] = Counter()
    accounts: dict[str, dict[str, Any]] = {}
    movements: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    orders: set[str] = set()

    for number, line in enumerate(read(path)):
        if "op" in line:
            operation = operations[line["n"]] = Operation(line, number, floors[line["user"]])
            of_user[line["user"]].append(operation)
        elif "outcome" in line:
            operation = operations[line["n"]]
            operation.answer, operation.last = line, number
            user = operation.asked["user"]
            floors[user] = max(floors[user], line.get("version", 0))
        elif "account" in line:
            accounts[line["account"]["email"]] = line["account"]
        elif "movement" in line:
            movements[line["movement"]["email"]].append(line["movement"])
        elif "order" in line:
            orders.add(line["order"]["id"])

    problems = [str(problem) for operation in operations.values() for problem in _unexpected(operation)]
    known = {f"user-{user}@example.com" for user in of_user}
    problems += [f"{email}: nobody registered this user" for email in accounts.keys() - known]
    for user, its in of_user.items():
        email = f"user-{user}@example.com"
        problems += [
            f"{email}: {text}" for text in _User(email, its, movements[email], orders).judge(accounts.get(email))
        ]
        sessions: defaultdict[int, list[Operation]] = defaultdict(list)
        for operation in its:
            if session := operation.asked.get("session"):
                sessions[session].append(operation)
        for session, theirs in sessions.items():
            problems += [f"{email}, session {session}: {text}" for text in judge_session(theirs)]
    return problems


def _unexpected(operation: Operation) -> Iterator[str]:
    if operation.outcome != REFUSED:
        return
    refusal = (operation.status, operation.answer["code"])
    asked = operation.asked
    if refusal not in _REFUSALS[asked["op"]] or (operation.status == 401 and "session" not in asked):
        yield f"{operation}: refused with {refusal}"


class _User:
    """One user's ledger and answers."""

    def __init__(self, email: str, operations: list[Operation], rows: list[dict[str, Any]], orders: set[str]) -> None:
        self._email = email
        self._rows = rows
        self._times = [_time(row["at"]) for row in rows]
        self._orders = orders
        self._model = Model()
        self._next_daily: list[datetime] = []  # by version
        self._by: defaultdict[str, list[Operation]] = defaultdict(list)
        self._requests: defaultdict[int, list[Operation]] = defaultdict(list)
        self._row_of: dict[int, dict[str, Any]] = {}  # request -> its movement
        self._winner: dict[str, int] = {}  # key -> the request that has it
        self._number: dict[tuple[int, int], int] = {}  # label and amount -> the request
        self._back: dict[tuple[str, str], dict[str, Any]] = {}  # keys of a spend and a reversal -> its movement
        self._gifts: dict[str, Operation] = {}  # text -> the gift, until its movement is replayed
        for operation in operations:
            asked = operation.asked
            self._by[asked["op"]].append(operation)
            if asked["op"] == "give":
                self._gifts[asked["text"]] = operation
            if asked["op"] == "use":
                self._requests[asked["request"]].append(operation)
                self._number[asked["label"], asked["amount"]] = asked["request"]

    def judge(self, account: dict[str, Any] | None) -> Iterator[str]:
        yield from self._judge_registration(account)
        if not account or account["created"] is None:
            return
        user = self._model.register(_time(account["created"]), self._email).user
        assert user
        for row in self._rows:
            if problems := list(self._replay(user, row)):
                yield from problems  # what follows from them is none of its own
                return
        final = (user.free, user.paid, user.total_earned, user.total_spent, user.version)
        found = tuple(account[name] for name in ("free", "paid", "earned", "spent", "version"))
        if final != found:
            yield f"the balance is {found}; the model has {final}"
            return
        for number, attempts in self._requests.items():
            yield from self._judge_request(user, number, attempts)
        for operation in self._by["balance"]:
            if operation.outcome == OK:
                yield from self._judge_balance(user, operation)
        for operation in self._by["reverse"]:
            yield from self._judge_reversal(user, operation)
        for operation in self._gifts.values():
            if operation.outcome == OK:
                yield f"{operation}: acknowledged, and not there"

    def _judge_registration(self, account: dict[str, Any] | None) -> Iterator[str]:
        tries = self._by["register"]
        made = [operation for operation in tries if operation.outcome == OK]
        doubtful = [operation for operation in tries if operation.outcome == UNKNOWN]
        created = _time(account["created"]) if account and account["created"] is not None else None
        if len(made) > 1:
            yield f"was registered {len(made)} times"
        if made and not created:
            yield "was registered, and has no account"
        if account and not (created and any(operation.may_date_from(created) for operation in made or doubtful)):
            yield f"was created at {created}, when nobody registered it"
        for operation in tries:
            if operation.outcome == REFUSED and not (created and created <= operation.high):
                yield f"{operation}: the address was taken by nobody"

    def _replay(self, user: User, row: dict[str, Any]) -> Iterator[str]:
        """Do on the model what this row says was done, and compare."""
        at, before = _time(row["at"]), user.version
        if row["type"] == "bonus":
            if row["window"] != 0:
                self._model.balance(at, user)
        elif row["type"] == "adjustment":
            gift = self._gifts.pop(row["description"], None)
            if not gift or not gift.may_date_from(at):
                yield f"movement {row['version']}: nobody gave it, or not then"
                return
            if gift.outcome == OK and any(gift.answer[name] != row[name] for name in ("id", "version")):
                yield f"{gift}: answered {gift.answer}, and made movement {row['version']}, {row['id']}"
            self._model.adjust(
                at, user, free=gift.asked["free"], paid=gift.asked["paid"], description=row["description"]
            )
        elif row["type"] == "refund":
            yield from self._replay_reversal(user, row, at)
        else:
            yield from self._replay_spend(user, row, at)
        if user.version != before + (row["window"] != 0):
            yield f"movement {row['version']}: the model makes {user.version - before} movements of it"
        self._next_daily.append(self._model.shown(user).next_daily_at)
        yield from _compare(user.movements[-1], row)

    def _replay_spend(self, user: User, row: dict[str, Any], at: datetime) -> Iterator[str]:
        request = self._number.get(((row["metadata"] or {}).get("request"), -row["amount"]))
        attempts = [o for o in self._requests[request] if o.outcome != REFUSED] if request else []
        if not request or not attempts:
            yield f"movement {row['version']}: every attempt at request {request} was refused"
            return
        if not any(operation.may_date_from(at) for operation in attempts):
            yield f"movement {row['version']}: made when nobody asked for request {request}"
        asked = attempts[0].asked
        expected = asked["expected"]
        if expected is not None and expected == user.version - 1:
            # The grant that this very call paid does not count; it has the call's transaction.
            grant = self._rows[user.version - 1]
            if grant["window"] and grant["transaction"] == row["transaction"]:
                expected += 1
        made = self._model.use(
            at, user, asked["amount"], APP, f"spend {asked['label']}",
            key=asked["key"], metadata={"request": asked["label"]}, expected_version=expected,
        )  # fmt: skip
        if not made.ok or made.replayed:
            yield f"movement {row['version']}: the model says {made.status} {made.code or 'replayed'}"
        self._row_of[request] = row
        if asked["key"] is not None:
            self._winner[asked["key"]] = request

    def _replay_reversal(self, user: User, row: dict[str, Any], at: datetime) -> Iterator[str]:
        keys = row["reverses"], row["cause"].partition(":")[2].partition(":")[2]
        asked = [
            operation.asked
            for operation in self._by["reverse"]
            if (operation.asked["spend"], operation.asked["key"]) == keys
            and operation.outcome != REFUSED and operation.may_date_from(at)
        ]  # fmt: skip
        spend = user.keys.get((APP, keys[0]))
        left = self._model.left(user, spend) if spend else 0
        if not any((attempt["amount"] or left) == row["amount"] for attempt in asked):
            yield f"movement {row['version']}: nobody asked for it then"
        made = self._model.reverse(at, user, APP, spend_key=keys[0], key=keys[1], amount=row["amount"])
        if not made.ok or made.replayed:
            yield f"movement {row['version']}: the model says {made.status} {made.code or 'replayed'}"
        self._back[keys] = row

    def _judge_reversal(self, user: User, operation: Operation) -> Iterator[str]:
        asked, row = operation.asked, self._back.get((operation.asked["spend"], operation.asked["key"]))
        if operation.outcome == OK:
            if row:
                yield from self._compare_answer(user, operation, row)
            else:
                yield f"{operation}: acknowledged, and not there"
        elif operation.outcome == REFUSED and operation.status != 503:
            spend = user.keys.get((APP, asked["spend"]))
            back = user.reversals.get(spend.version, {}).values() if spend else []
            reasons = {
                404: not spend or spend.version > min(self._seen(operation)),
                409: spend and sum(m.amount for m in back if m.version <= max(self._seen(operation)))
                + (asked["amount"] or 1) > -spend.amount,
                422: row and row["version"] <= max(self._seen(operation)) and asked["amount"] != row["amount"],
            }  # fmt: skip
            if not reasons[operation.status]:
                yield f"{operation}: there was no reason to refuse it with {operation.status}"

    def _judge_request(self, user: User, number: int, attempts: list[Operation]) -> Iterator[str]:
        row = self._row_of.get(number)
        key = attempts[0].asked["key"]
        winner = self._winner.get(key) if key is not None else None
        first_answers = 0
        acknowledged = None  # the line at which the key was known to be taken
        for operation in self._requests[winner] if winner else []:
            if operation.outcome == OK and operation.last is not None:
                acknowledged = min(acknowledged or operation.last, operation.last)
        for operation in attempts:
            late = acknowledged is not None and operation.first > acknowledged
            if operation.outcome == UNKNOWN:
                continue
            if operation.outcome == OK:
                first_answers += not operation.answer["replayed"]
                if not row:
                    yield f"{operation}: acknowledged, and not there"
                else:
                    yield from self._compare_answer(user, operation, row)
            elif late and operation.status in ({402, 409} if number == winner else {402, 409, 0}):
                yield f"{operation}: {operation.answer['code']}, though its key was taken"
            elif not self._explains(user, operation, winner):
                yield f"{operation}: there was no reason to refuse it with {operation.status}"
        if first_answers > 1 or (row and not first_answers and all(o.outcome != UNKNOWN for o in attempts)):
            yield f"request {number}: answered as the first one {first_answers} times"
        yield from self._judge_order(number, attempts, row)

    def _explains(self, user: User, operation: Operation, winner: int | None) -> bool:
        asked = operation.asked
        match operation.status:
            case 402:
                return any(self._was_short(user, version, operation) for version in self._seen(operation))
            case 409:
                return any(version != asked["expected"] for version in self._seen(operation))
            case 422:
                return winner not in {None, asked["request"]}
        return True

    def _judge_order(self, number: int, attempts: list[Operation], row: dict[str, Any] | None) -> Iterator[str]:
        """The backend's own row is there with the spend, or neither is."""
        ordered = row is not None and row["id"] in self._orders
        orderers = {o.outcome for o in attempts if o.asked.get("orders") and o.outcome != REFUSED}
        if (ordered and not orderers) or (OK in orderers and not ordered):
            yield f"request {number}: the backend's own row is {'there' if ordered else 'not there'}"

    def _seen(self, operation: Operation) -> range:
        """The versions of the balance that the operation may have met."""
        lowest = max(operation.floor, bisect_right(self._times, operation.low), 1)
        return range(lowest, max(bisect_right(self._times, operation.high), lowest) + 1)

    def _was_short(self, user: User, version: int, operation: Operation) -> bool:
        """Whether 402 is right at this version of the balance."""
        left = user.movements[version - 1].balance_after
        if operation.low >= self._next_daily[version - 1]:
            # A grant was due even at the earliest. Over HTTP it stays paid, so there is a later version.
            return "session" not in operation.asked and left + self._model.daily_free < operation.asked["amount"]
        return left < operation.asked["amount"]

    def _compare_answer(self, user: User, operation: Operation, row: dict[str, Any]) -> Iterator[str]:
        movement, answer = user.movements[row["version"] - 1], operation.answer
        seen = tuple(answer[name] for name in ("id", "amount", "before", "after", "free", "paid", "spent", "version"))
        right = (
            row["id"], movement.amount, movement.balance_before, movement.balance_after, movement.free,
            movement.paid, movement.total_spent, movement.version,
        )  # fmt: skip
        if (
            seen != right
            or abs((datetime.fromisoformat(answer["created"]) - movement.at).total_seconds()) > _MILLISECOND
        ):
            yield f"{operation}: answered {seen} of {answer['created']}; the model has {right} of {movement.at}"

    def _judge_balance(self, user: User, operation: Operation) -> Iterator[str]:
        answer = operation.answer
        version = answer["version"]
        if not max(operation.floor, 1) <= version <= bisect_right(self._times, operation.high):
            yield f"{operation}: version {version} is of another time"
            return
        movement, next_daily = user.movements[version - 1], self._next_daily[version - 1]
        right = (movement.free, movement.paid, movement.total_earned, movement.total_spent, self._model.daily_free)
        seen = tuple(answer[name] for name in ("free", "paid", "earned", "spent", "daily"))
        shown = datetime.fromisoformat(answer["next"])
        if seen != right or abs((shown - next_daily).total_seconds()) > _MILLISECOND:
            yield f"{operation}: answered {seen}, next {shown}; the model has {right}, {next_daily}"
        if next_daily <= operation.low:
            yield f"{operation}: a grant was due, and not paid"


def _compare(movement: Movement, row: dict[str, Any]) -> Iterator[str]:
    right = {
        "type": movement.type, "amount": movement.amount, "before": movement.balance_before,
        "after": movement.balance_after, "free": movement.free, "spent": movement.total_spent,
        "version": movement.version, "window": movement.window, "app": movement.app_id,
        "description": movement.description, "metadata": movement.metadata, "key": movement.key,
    }  # fmt: skip
    found = {name: row[name] for name in right}
    if found != right or _time(row["at"]) != movement.at:
        yield f"movement {row['version']} is {found} of {_time(row['at'])}; the model has {right} of {movement.at}"


def judge_session(operations: list[Operation]) -> Iterator[str]:
    """One session, whose client did one thing at a time."""
    model = Model()
    states: list[Session] = []
    numbers: dict[str, int] = {}  # fingerprint of a refresh token -> its place in the lineage
    edges = sorted({edge for operation in operations for edge in (operation.low, operation.high)})
    for operation in operations:
        op, answer = operation.asked["op"], operation.answer
        if "token" in operation.asked and operation.asked["token"] not in numbers:
            yield f"{operation}: a token that nobody was given"
            return
        # Where the clock was moved meanwhile, what was done lies anywhere between the others' times.
        times = edges[bisect_left(edges, operation.low) : bisect_right(edges, operation.high)]
        if op == "login":
            if operation.outcome == OK:
                for at in times:
                    fresh = Model()
                    fresh.register(at, "somebody")
                    token = fresh.login(at, "somebody").token
                    assert token
                    states.append(token.session)
                numbers[answer["token"]] = 0
        elif op in {"use", "balance"}:
            if operation.outcome == UNKNOWN:
                continue
            alive = operation.status != 401
            states = [s for s in states if any(model.validate(at, s) == alive for at in times)]
        else:
            states = _distinct(
                [after for s in states for at in times for after in _step(model, s, operation, at, numbers)]
            )
            if op == "refresh" and operation.outcome == OK:
                numbers.setdefault(answer["token"], numbers[operation.asked["token"]] + 1)
        if not states and numbers:
            yield f"{operation}: {operation.outcome} {operation.status}, which the model cannot explain"
            return


def _step(
    model: Model, state: Session, operation: Operation, at: datetime, numbers: dict[str, int]
) -> Iterator[Session]:
    """What a refresh or a logout makes of a state, if it is what was seen."""
    after = copy.deepcopy(state)
    presented = operation.asked.get("token")
    token = after.tokens[numbers[presented]] if presented else None
    if operation.asked["op"] == "refresh":
        assert token
        predicted = model.refresh(at, token)
        number = predicted.token.number if predicted.token else None
        seen = operation.answer.get("token")
        # A known token must be the one; an unknown one must have a place of its own.
        fits = numbers[seen] == number if seen in numbers else number not in numbers.values()
    else:
        predicted = model.log_out_by_token(at, token) if token else model.log_out(at, after)
        fits = True
        if token and token.expires_at <= at:
            # A later login, of which this session knows nothing, may have forgotten the token.
            fits, predicted = True, predicted if operation.outcome == OK else model.refresh(at, token)
    if operation.outcome == UNKNOWN:
        yield from (state, after)
    elif predicted.ok == (operation.outcome == OK) and (fits or not predicted.ok):
        yield after


def _distinct(states: list[Session]) -> list[Session]:
    """Of those that differ in nothing but times the earliest and the latest.

    So, too, for each time that differs much: of those where it is one of its values that are far apart.
    """
    groups: defaultdict[tuple[object, ...], dict[tuple[datetime, ...], Session]] = defaultdict(dict)
    for state in states:
        shape = (state.revoked_at is None, *(token.used_at is None for token in state.tokens))
        groups[shape][_times_of(state)] = state
    kept = []
    for group in groups.values():
        chosen = {min(group), max(group)}
        for place, values in enumerate(zip(*group, strict=True)):
            if max(values) - min(values) > _MUCH:
                for value in _far_apart(values):
                    there = [times for times in group if times[place] == value]
                    chosen |= {min(there), max(there)}
        kept += [group[times] for times in chosen]
    return kept


def _far_apart(values: Sequence[datetime]) -> list[datetime]:
    """The earliest, the latest, and between them those that differ much from the one before."""
    kept: list[datetime] = []
    for value in sorted(values):
        if not kept or value - kept[-1] > _MUCH:
            kept.append(value)
    return [*kept, max(values)]


def _times_of(state: Session) -> tuple[datetime, ...]:
    never = datetime.max.replace(tzinfo=UTC)
    newest_first = state.tokens[::-1]
    used, over = ([token.used_at or never for token in newest_first], [token.expires_at for token in newest_first])
    return (state.expires_at, *used, *over)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
