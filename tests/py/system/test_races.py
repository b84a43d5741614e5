"""Races: any two transactions about one user end as if one had come after the other, however they are interleaved.

All orders of the calls and ends of each two transactions are tried; of the pairs that do not both move or read
credits while a grant is due, the gate tries a tenth. Of the ways to leave a transaction at a point inside of a
function while the other one runs as far as it can, a few are drawn. ``make soak`` tries all pairs and all of these
ways, then draws from those that switch once more until its time is over.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

import pytest

from harness.databases import Cluster, Database
from proof.stepper import Action, Outcome, Schedule, Stepper, by_statement, into_functions, prepare, serial

SEED = os.environ.get("SOAK_SEED", "1")
SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "0"))
DRAWN = 3  # schedules a pair that lead into functions, when there is no time for all

# A user without an account, and one with two sessions, the second refreshed a moment ago, and 140 credits: there was a
# spend of 10. The account was opened long enough ago for a daily grant, unless test.due says otherwise.
SCENARIO = """
create table test.due (is_due boolean not null);
insert into test.due values (true);
create function test.scenario(
    out user_id uuid, out email text, out new_email text, out claims text, out used_token text, out token text,
    out new_user_id uuid
) language plpgsql as $$
declare
    v_grant auth.session_grant;
begin
    email := gen_random_uuid() || '@example.com';
    new_email := 'new-' || email;
    insert into auth.users (id, email, created_at, updated_at)
    values (gen_random_uuid(), 'opens-' || email, now(), now())
    returning id into new_user_id;
    perform credits.configure(150, 5);
    update test.clock set shift = (select case when is_due then '-25 hours' else '-1 hour' end::interval from test.due);
    user_id := (auth.register_user(email, 'digest', null)).id;
    perform credits.use_credits(10, 'tests', 'spent before', 's');
    update test.clock set shift = '0';
    perform _auth.create_session(null, null, '7 days');
    v_grant := _auth.create_session(null, null, '7 days');
    used_token := v_grant.refresh_token;
    token := (auth.refresh_session(user_id, used_token, '7 days')).refresh_token;
    claims := json_build_object('sub', user_id, 'sessionId', v_grant.session_id, 'role', 'user');
end
$$;
"""

STATE = """
select json_build_object(
    'users', (select json_agg(json_build_array(role, disabled_at is not null) order by email)
                from auth.users where email in (%(email)s, %(new_email)s)),
    'sessions', (select array_agg(s.state order by s.state collate "C") from (
        select format(
            'revoked: %%s, tokens: %%s, used: %%s', revoked_at is not null, count(t.hash), count(used_at)
        ) as state
          from auth.sessions as s left join auth.refresh_tokens as t on t.user_id = s.user_id and t.session_id = s.id
         where s.user_id = %(user_id)s group by s.id, revoked_at
    ) as s),
    'events', (select array_agg(event_type order by event_type) from auth.security_events where user_id = %(user_id)s),
    'balance', (select json_build_array(balance, free_credits_remaining, total_earned, total_spent, version)
                  from credits.balances where user_id = %(user_id)s),
    'opened', (select array_agg(free_credits_remaining) from credits.balances where user_id = %(new_user_id)s),
    'transactions', (select json_agg(json_build_array(
                                amount, balance_before, balance_after, version, grant_window, idempotency_key
                            ) order by id)
                       from credits.transactions where user_id = %(user_id)s),
    'settings', (select json_build_array(signup_bonus, daily_free_credits) from credits.settings)
)::text
"""


def spend_in_sql(amount: int, key: str = "null") -> tuple[str, str]:
    return (
        "select auth.act_as(%(user_id)s)::text",
        f"select credits.use_credits({amount}, 'tests', 'a test', {key})::text",
    )


def reverse_in_sql(key: str, amount: str = "null", spend_key: str = "'s'") -> tuple[str, str]:
    return (
        "select auth.act_as(%(user_id)s)::text",
        f"select credits.reverse_spend('tests', 'failed', {key}, null, {spend_key}, {amount})::text",
    )


def alone(function: str, *arguments: str) -> str:
    """What the gateway sends for one call of a function that serves many users."""
    given = "".join(f", array[{argument}]" for argument in arguments)
    return f"{REPLY} from api.{function}(array[%(user_id)s::uuid], array[%(claims)s], array['{{}}']{given})"


def in_company(function: str, *arguments: str) -> str:
    """The same beside the call of somebody who is refused."""
    given = "".join(f", array[{argument}, {argument}]" for argument in arguments)
    return (
        f"{REPLY} from api.{function}(array[%(user_id)s, null]::uuid[], array[%(claims)s, '{{}}'],"
        f" array['{{}}', '{{}}']{given}) with ordinality where ordinality = 1"
    )


def spend(amount: int, key: str = "null") -> tuple[str, ...]:
    """The arguments of a spend."""
    return (f"{amount}::bigint", "'tests'", "'a test'", f"{key}::text", "null::jsonb", "null::bigint")


def open_account(user: str) -> tuple[str, str]:
    return (
        f"select auth.act_as(%({user})s)::text",
        "select credits.open_account(base.clock())::text",
    )


REPLY = "select row(status, body, headers)::text"
APP, BACKEND, ADMIN = "mana_gateway", "mana_backend", "postgres"
LOGGED_OUT = """[('(200,"{""message"" : ""Logged out successfully""}",)',)]"""
SESSION_ENDED = "PT401 session_ended"
NOT_AT_ONCE = ("[('(,,)',)]",)  # what a batch answers to a call that has to be made alone; it changed nothing
ANNOUNCED = re.compile(r'"(dailyFreeCredits|daily_free_credits)"+ ?: ?\d+')
REFRESH = "select api.refresh_session(%(user_id)s, '{}', %({})s, '7 days')::text"
LOG_IN = "select api.log_in('{{}}', %(email)s, '{}', null, null, '7 days')::text"
REGISTER = "select api.register_user('{}', %(new_email)s, 'digest', null)::text"

CONFIGURE = Action("configure", ADMIN, ("select (c).signup_bonus from credits.configure(200, 7) as c",))
CHECK = Action(
    "check the books", ADMIN,
    # A user without an account belongs to the scenario.
    ("select array_agg(c)::text from credits.check_ledger(false) as c where problem <> 'user_without_account'",),
)  # fmt: skip
MONEY = (
    Action("spend", APP, (alone("use_credits", *spend(100)),)),
    Action("spend with a key", APP, (alone("use_credits", *spend(100, "'k'")),)),
    Action("spend another amount with that key", APP, (alone("use_credits", *spend(30, "'k'")),)),
    Action("spend as a backend", BACKEND, spend_in_sql(100)),
    Action("spend as a backend with that key", BACKEND, spend_in_sql(100, "'k'")),
    Action("spend as a backend with that key and roll back", BACKEND, spend_in_sql(100, "'k'"), "rollback"),
    Action("give a spend back", BACKEND, reverse_in_sql("'r'")),
    Action("give a part of it back", BACKEND, reverse_in_sql("'p'", "7")),
    Action("give another part back with that key", BACKEND, reverse_in_sql("'p'", "6")),
    Action("give the spend with a key back", BACKEND, reverse_in_sql("'r'", spend_key="'k'")),
    Action(
        "take what there is", ADMIN,
        ("select auth.act_as(%(user_id)s)::text", "select credits.adjust('a', -140, 'fraud', 'a', 'free')::text"),
    ),
    Action("overspend as a backend", BACKEND, spend_in_sql(160)),
    Action("get the balance", APP, (alone("get_balance"),)),
    Action(
        "get the balance as a backend", BACKEND,
        ("select auth.act_as(%(user_id)s)::text", "select to_json(credits.get_balance())::text"),
    ),
    Action("spend in company", APP, (in_company("use_credits", *spend(100, "'k'")),)),
    Action("get the balance in company", APP, (in_company("get_balance"),)),
    Action("open the account again", ADMIN, open_account("user_id")),
    CONFIGURE,
)  # fmt: skip
REGISTRATION = (
    Action("open an account", ADMIN, open_account("new_user_id")),
    Action("register", APP, (REGISTER,)),
    Action("register in capitals", APP, (REGISTER.replace("%(new_email)s", "upper(%(new_email)s)"),)),
)
TOKEN = (
    Action("log in", APP, (LOG_IN.format("digest"),)),
    Action("log in with a wrong password", APP, (LOG_IN.format("wrong"),)),
    Action("refresh", APP, (REFRESH.replace("{})s", "token)s"),)),
    Action("refresh with the token before", APP, (REFRESH.replace("{})s", "used_token)s"),)),
    Action("log out", APP, (f"{REPLY} from api.log_out(%(user_id)s, %(claims)s, '{{}}', null)",)),
    Action("log out by refresh token", APP, (f"{REPLY} from api.log_out(%(user_id)s, null, '{{}}', %(token)s)",)),
    Action("validate", APP, ("select api.validate(%(user_id)s, %(claims)s, '{}')::text",)),
    Action("disable", ADMIN, ("select auth.set_disabled(%(email)s, true)::text",)),
    Action("enable", ADMIN, ("select auth.set_disabled(%(email)s, false)::text",)),
    Action("make an admin", ADMIN, ("select auth.set_role(%(email)s, 'admin')::text",)),
)

# A user who is new is unknown to the others, so new users are paired with each other.
PAIRS = [
    *itertools.product(MONEY, [CHECK]),
    *itertools.combinations_with_replacement(MONEY + TOKEN, 2),
    *itertools.combinations_with_replacement((*REGISTRATION, CONFIGURE), 2),
]
CASES = [(pair, True) for pair in PAIRS] + [(pair, False) for pair in itertools.combinations_with_replacement(MONEY, 2)]


def compete_little(pair: tuple[Action, Action], due: bool) -> bool:
    """Whether something else is at stake than the balance and a grant."""
    return not due or not all(action in MONEY for action in pair)


@pytest.fixture(scope="module")
def stepped(cluster: Cluster) -> Iterable[Database]:
    """A database whose functions can be stopped between any two statements."""
    with cluster.database() as created:
        with created.connect() as connection:
            assert prepare(connection) > 30
            connection.execute(SCENARIO)
        yield created


@pytest.fixture(scope="module")
async def stepper(stepped: Database) -> AsyncIterator[Stepper]:
    async with Stepper.connected(stepped.admin_url) as connected:
        yield connected


def exactly(outcome: Outcome) -> str:
    return f"{outcome.answers} {outcome.state}"


class Judge:
    """Runs a pair in many ways; each has to end as one of the two serial runs did."""

    def __init__(self, stepper: Stepper, pair: tuple[Action, Action]) -> None:
        self.stepper = stepper
        self.pair = pair
        self.serial: list[Outcome] = []

    @property
    def points(self) -> tuple[list[int], list[int]]:
        """The points that each has in functions, whether it comes first or second."""
        one, two = ({point for run in self.serial for point in run.points[who]} for who in (0, 1))
        return sorted(one), sorted(two)

    async def run(self, schedule: Schedule) -> Outcome:
        return await self.stepper.run(self.pair, schedule, "select * from test.scenario()", STATE)

    async def begin(self) -> None:
        self.serial = [await self.run(serial(first)) for first in (0, 1)]

    async def judge(self, schedule: Schedule) -> None:
        found = await self.run(schedule)
        # Who had its answer before the other began has come first for everybody.
        allowed = self.serial if found.first is None else [self.serial[found.first]]
        if found.first is None and NOT_AT_ONCE in found.answers:
            allowed = [*allowed, await self.without(found.answers.index(NOT_AT_ONCE))]
        alike = self.together if found.first is None else exactly
        assert alike(found) in [alike(one) for one in allowed], (
            f"{self.pair[0]} and {self.pair[1]}, seed {SEED}, {schedule}: equals no serial run:\n{found}\n"
            + "\n".join(map(str, self.serial))
        )

    async def without(self, batch: int) -> Outcome:
        """The other one alone, while the batch found that it has to be made alone."""
        outcome = await self.run([(1 - batch, None)])
        answers = (NOT_AT_ONCE, outcome.answers[1]) if batch == 0 else (outcome.answers[0], NOT_AT_ONCE)
        return replace(outcome, answers=answers)

    def together(self, outcome: Outcome) -> str:
        """What has to be the same: all but the two liberties of transactions that were under way together."""
        answers = []
        for action, given in zip(self.pair, outcome.answers, strict=True):
            # It was told that the session has ended, and so it has, by either of the two.
            told = [LOGGED_OUT if action.name == "log out" and text == SESSION_ENDED else text for text in given]
            # The next grant is announced as it is set by now, also when this one was paid before.
            answers.append([ANNOUNCED.sub("", text) if CONFIGURE in self.pair else text for text in told])
        return f"{answers} {outcome.state}"


@pytest.mark.parametrize(
    ("pair", "due"),
    [
        pytest.param(*case, marks=pytest.mark.soak if compete_little(*case) and number % 10 else ())
        for number, case in enumerate(CASES)
    ],
    ids=lambda value: " - ".join(map(str, value)) if isinstance(value, tuple) else None,
)
async def test_two_transactions_end_as_if_one_came_after_the_other(
    stepped: Database, stepper: Stepper, pair: tuple[Action, Action], due: bool
) -> None:
    deadline = time.monotonic() + SOAK_SECONDS / len(CASES)
    chance = random.Random(f"{SEED} {pair} {due}")
    stepped.query("update test.due set is_due = %s", due)
    judge = Judge(stepper, pair)
    await judge.begin()
    for schedule in by_statement(pair):
        await judge.judge(schedule)
    once = list(into_functions(judge.points, 1))
    for schedule in once if SOAK_SECONDS else chance.sample(once, min(DRAWN, len(once))):
        await judge.judge(schedule)
    twice = list(into_functions(judge.points, 2))
    while time.monotonic() < deadline:
        await judge.judge(chance.choice(twice))
    stepped.query("delete from auth.users where id not in (select user_id from credits.balances)")
    stepped.assert_ledger_is_sound()
    assert stepped.query("select * from credits.check_ledger(false)") == [], "a check remembers what was not there"
    with stepped.connect() as connection:  # the books of all pairs so far would take longer to check than a pair
        connection.execute("set session_replication_role = replica")
        connection.execute("truncate auth.users, credits.ledger_checks cascade")
