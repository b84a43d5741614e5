"""What the service promises, as plain Python: users, sessions, balances, grants, keys.

It shares no code with the product and knows nothing of HTTP or SQL. Each operation takes the time at
which it happens (aware datetimes; they need not grow) and returns the ``Outcome`` that a client must
see. A refusal is a status and a code, and changes nothing unless its docstring says so. Requests are
well-formed: what is answered with 400 is not modelled, nor is the lifetime of an access token, which
is the gateway's own clock.

    model = Model()
    ada = model.register(at, "ada@example.com").user
    token = model.login(at, "ada@example.com").token
    model.use(at, ada, 10, "chat", "an answer", key="1", session=token.session)   # as HTTP does it
    model.use(at, ada, 10, "chat", "an answer", key="1")                          # as a backend in SQL
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

DAY = timedelta(hours=24)
TICK = timedelta(microseconds=1)
GRACE = timedelta(seconds=10)  # in which a refresh token may come again
KEPT = timedelta(days=30)  # that a session which ended is remembered


@dataclass(frozen=True, slots=True)
class Movement:
    """One row of the ledger, and the balance right after it."""

    type: str
    amount: int
    description: str
    version: int
    free: int
    paid: int
    total_earned: int
    total_spent: int
    at: datetime
    app_id: str | None = None
    metadata: dict[str, Any] | None = None
    key: str | None = None
    window: int | None = None  # of a grant; 0 is the signup bonus
    moved: tuple[int, int] = (0, 0)  # of the free and of the paid part

    @property
    def balance_after(self) -> int:
        return self.free + self.paid

    @property
    def balance_before(self) -> int:
        return self.balance_after - self.amount


@dataclass(frozen=True, slots=True)
class Balance:
    """What a balance request shows."""

    free: int
    paid: int
    total_earned: int
    total_spent: int
    daily_free: int
    next_daily_at: datetime
    version: int


@dataclass(eq=False, slots=True)
class User:
    """An account. ``movements`` are in the order of the ledger."""

    email: str
    created_at: datetime
    updated_at: datetime
    free: int = 0
    paid: int = 0
    total_earned: int = 0
    total_spent: int = 0
    version: int = 0
    window: int = 0  # the last one that was paid
    disabled: bool = False
    deleted: bool = False
    role: str = "user"
    movements: list[Movement] = field(default_factory=list)
    keys: dict[tuple[str | None, str], Movement] = field(default_factory=dict)
    reversals: dict[int, dict[str, Movement]] = field(default_factory=dict)  # of a spend, by its version and their keys
    sessions: list[Session] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Session:
    """A login. Its refresh tokens are one lineage: number n + 1 follows number n."""

    user: User
    expires_at: datetime
    role: str  # that its access token names, as of the last login or refresh
    revoked_at: datetime | None = None
    tokens: list[Token] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Token:
    """A refresh token; which string it is, is the caller's business."""

    session: Session
    number: int
    expires_at: datetime
    used_at: datetime | None = None
    forgotten: bool = False  # deleted by a later login, because its time was over


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the client sees. ``code`` is empty when it is no refusal."""

    status: int
    code: str = ""
    user: User | None = None
    token: Token | None = None
    balance: Balance | None = None
    movement: Movement | None = None
    replayed: bool = False

    @property
    def ok(self) -> bool:
        return not self.code


class Model:
    """The whole service. Change the two amounts as an operator would, between operations."""

    def __init__(self, signup_bonus: int = 150, daily_free: int = 5, session_ttl: timedelta = timedelta(days=7)):
        self.signup_bonus = signup_bonus
        self.daily_free = daily_free
        self.session_ttl = session_ttl
        self.users: dict[str, User] = {}

    # ------------------------------------------------------------ accounts

    def register(self, at: datetime, email: str) -> Outcome:
        """201 with the user, or 409. Addresses are one in any case."""
        email = email.lower()
        if email in self.users:
            return Outcome(409, "email_taken")
        user = self.users[email] = User(email, created_at=at, updated_at=at)
        if self.signup_bonus:
            self._post(user, at, "bonus", "Signup bonus", free=self.signup_bonus, window=0)
        return Outcome(201, user=user)

    def set_disabled(self, at: datetime, user: User, disabled: bool) -> None:
        """What an administrator does. Disabling ends all sessions, for good."""
        user.disabled = disabled
        if disabled:
            for session in user.sessions:
                session.revoked_at = session.revoked_at or at

    def set_role(self, user: User, role: str) -> None:
        user.role = role

    def delete(self, user: User) -> None:
        user.deleted = True

    # ------------------------------------------------------------ sessions

    def login(self, at: datetime, email: str, *, right_password: bool = True) -> Outcome:
        """200 with the first refresh token of a new session, or 401."""
        user = self.users.get(email.lower())
        if not user or user.deleted or not right_password:
            return Outcome(401, "invalid_credentials")
        if user.disabled:
            return Outcome(401, "account_disabled")
        for session in user.sessions:
            gone = min(session.revoked_at or session.expires_at, session.expires_at) <= at - KEPT
            for token in session.tokens:
                token.forgotten = token.forgotten or gone or token.expires_at <= at
        session = Session(user, at + self.session_ttl, user.role)
        user.sessions.append(session)
        return Outcome(200, user=user, token=self._issue(session, at))

    def refresh(self, at: datetime, token: Token) -> Outcome:
        """200 with the next token, or 401.

        The same token again within GRACE, with its successor unused, gets the same successor. Any
        other reuse is refused and ends the session.
        """
        session = token.session
        user = session.user
        refused = Outcome(401, "invalid_refresh_token")
        if token.forgotten or session.revoked_at or token.expires_at <= at or user.deleted or user.disabled:
            return refused
        if token.used_at is None:
            token.used_at = at
            session.expires_at = at + self.session_ttl
            session.role = user.role
            return Outcome(200, user=user, token=self._issue(session, at))
        following = session.tokens[token.number + 1]
        if at > token.used_at + GRACE or following.used_at or following.forgotten:
            session.revoked_at = at
            return refused
        session.role = user.role
        return Outcome(200, user=user, token=following)

    def log_out(self, at: datetime, session: Session) -> Outcome:
        """With an access token: 200, or 401 when the session is over already."""
        refusal = self._refusal(at, session)
        if not refusal:
            session.revoked_at = at
        return refusal or Outcome(200)

    def log_out_by_token(self, at: datetime, token: Token) -> Outcome:
        """With a refresh token: 200 also for a used one and for a session that has ended."""
        if token.forgotten:
            return Outcome(401, "invalid_refresh_token")
        token.session.revoked_at = token.session.revoked_at or at
        return Outcome(200)

    def validate(self, at: datetime, session: Session) -> bool:
        """Whether the access token of the session works."""
        return self._refusal(at, session) is None

    def permits(self, at: datetime, session: Session) -> Outcome:
        """What the access token of the session is answered where it only reads."""
        return self._refusal(at, session) or Outcome(200)

    def _issue(self, session: Session, at: datetime) -> Token:
        token = Token(session, len(session.tokens), at + self.session_ttl)
        session.tokens.append(token)
        return token

    def _refusal(self, at: datetime, session: Session) -> Outcome | None:
        user = session.user
        if session.revoked_at or session.expires_at <= at or user.deleted:
            return Outcome(401, "session_ended")
        if user.disabled:
            return Outcome(401, "account_disabled")
        if session.role != user.role:
            return Outcome(401, "role_changed")
        return None

    def _caller(self, at: datetime, user: User, session: Session | None) -> Outcome | None:
        """The refusal of who calls: over HTTP with a session, in SQL by acting as the user."""
        if session:
            return self._refusal(at, session)
        if user.deleted:
            return Outcome(404, "not_found")
        return Outcome(401, "account_disabled") if user.disabled else None

    # ------------------------------------------------------------ credits

    def balance(self, at: datetime, user: User, session: Session | None = None) -> Outcome:
        """200. Pays a daily grant that is due."""
        if refusal := self._caller(at, user, session):
            return refusal
        self._pay_daily(user, at)
        return Outcome(200, user=user, balance=self.shown(user))

    def use(
        self,
        at: datetime,
        user: User,
        amount: int,
        app_id: str,
        description: str,
        *,
        key: str | None = None,
        metadata: dict[str, Any] | None = None,
        expected_version: int | None = None,
        session: Session | None = None,
    ) -> Outcome:
        """200 with the movement, 402, 409 or 422; free credits go first.

        A daily grant that is due is paid first. With a session, as over HTTP, it stays paid whatever the
        answer is; in SQL a refusal is raised and takes it back. ``expected_version`` speaks of the
        balance before that grant.
        """
        if refusal := self._caller(at, user, session):
            return refusal
        found_version = user.version
        if session:
            self._pay_daily(user, at)
        earlier = user.keys.get((app_id, key)) if key is not None else None
        if earlier:
            asked = ("usage", -amount, description, metadata)
            if (earlier.type, earlier.amount, earlier.description, earlier.metadata) != asked:
                return Outcome(422, "idempotency_key_reused")
            self._pay_daily(user, at)
            return Outcome(200, user=user, movement=earlier, replayed=True)
        if expected_version is not None and expected_version != found_version:
            return Outcome(409, "version_conflict")
        due = self.daily_free if self.window(user, at) > user.window else 0
        if amount > user.free + user.paid + due:
            return Outcome(402, "insufficient_credits")
        self._pay_daily(user, at)
        free = min(amount, user.free)
        movement = self._post(
            user, at, "usage", description, free=-free, paid=free - amount, app_id=app_id, metadata=metadata, key=key
        )
        return Outcome(200, user=user, movement=movement)

    def reverse(
        self, at: datetime, user: User, app_id: str, *, spend_key: str, key: str, amount: int | None = None
    ) -> Outcome:
        """200 with the movement, 404, 409 or 422, in SQL. Paid credits go back to the paid part first, then free ones.

        Without an amount it is all that is left.
        """
        if refusal := self._caller(at, user, None):
            return refusal
        spend = user.keys.get((app_id, spend_key))
        if not spend:
            return Outcome(404, "not_found")
        earlier = user.reversals.setdefault(spend.version, {})
        if key in earlier:
            if (amount or self.left(user, spend, before=earlier[key])) != earlier[key].amount:
                return Outcome(422, "idempotency_key_reused")
            self._pay_daily(user, at)
            return Outcome(200, user=user, movement=earlier[key], replayed=True)
        left = self.left(user, spend)
        amount = amount or left
        if not 0 < amount <= left:
            return Outcome(409, "reversal_exceeds_spend")
        self._pay_daily(user, at)
        paid = min(amount, -spend.moved[1] - sum(movement.moved[1] for movement in earlier.values()))
        earlier[key] = self._post(user, at, "refund", "Spend reversed", free=amount - paid, paid=paid, app_id=app_id)
        return Outcome(200, user=user, movement=earlier[key])

    def left(self, user: User, spend: Movement, before: Movement | None = None) -> int:
        """What of a spend has not been given back, before this movement or by now."""
        back = user.reversals.get(spend.version, {}).values()
        return -spend.amount - sum(m.amount for m in back if not before or m.version < before.version)

    def adjust(self, at: datetime, user: User, *, free: int = 0, paid: int = 0, description: str = "a gift") -> Outcome:
        """An administrator's gift. It pays no daily grant."""
        return Outcome(200, user=user, movement=self._post(user, at, "adjustment", description, free=free, paid=paid))

    def transactions(self, user: User) -> list[Movement]:
        """The newest first."""
        return user.movements[::-1]

    def shown(self, user: User) -> Balance:
        """The balance as it is, without paying anything."""
        return Balance(
            user.free, user.paid, user.total_earned, user.total_spent,
            self.daily_free, user.created_at + (user.window + 1) * DAY, user.version,
        )  # fmt: skip

    def window(self, user: User, at: datetime) -> int:
        """Which 24 hours since the account's creation it is; time never goes back before the last movement."""
        return (max(at, user.updated_at + TICK) - user.created_at) // DAY

    def _pay_daily(self, user: User, at: datetime) -> None:
        window = self.window(user, at)
        if window > user.window:
            user.window = window
            if self.daily_free:
                self._post(user, at, "bonus", "Daily credits", free=self.daily_free, window=window)

    def _post(
        self,
        user: User,
        at: datetime,
        kind: str,
        description: str,
        *,
        free: int = 0,
        paid: int = 0,
        app_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        key: str | None = None,
        window: int | None = None,
    ) -> Movement:
        amount = free + paid
        user.free += free
        user.paid += paid
        assert min(user.free, user.paid) >= 0
        user.total_earned += max(amount, 0)
        user.total_spent += max(-amount, 0)
        user.version += 1
        user.updated_at = max(at, user.updated_at + TICK)
        movement = Movement(
            kind, amount, description, user.version, user.free, user.paid, user.total_earned, user.total_spent,
            user.updated_at, app_id, metadata, key, window, (free, paid),
        )  # fmt: skip
        user.movements.append(movement)
        if key is not None:
            user.keys[app_id, key] = movement
        return movement
