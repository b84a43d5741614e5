"""Credits over HTTP: nobody spends twice, a retry is free, a day is paid once, and the list can be walked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest

from harness.clients import Reply, Service, Session, assert_problem
from harness.databases import Database
from harness.gateways import EVERY_GATEWAY
from harness.waiting import together

TRANSACTIONS = "/api/v1/credits/transactions"
TRANSACTION = {
    "id", "userId", "type", "status", "amount", "balanceBefore", "balanceAfter", "appId", "description",
    "metadata", "idempotencyKey", "createdAt", "completedAt",
}  # fmt: skip
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def real_time(database: Database) -> Iterator[None]:
    yield
    database.move_clock(timedelta())


@pytest.fixture
async def user(either_service: Service) -> Session:
    """A user with 150 free credits."""
    return await either_service.new_session()


def statuses(replies: list[Reply]) -> list[int]:
    return sorted(reply.status for reply in replies)


def replays(replies: list[Reply]) -> int:
    return sum(reply.headers.get("Idempotency-Replayed") == "true" for reply in replies)


async def page(user: Session, query: str = "") -> list[dict[str, Any]]:
    reply = await user.get(TRANSACTIONS + query)
    assert reply.status == 200, reply.text
    found: list[dict[str, Any]] = reply.body
    return found


async def amounts(user: Session, query: str = "") -> list[int]:
    return [transaction["amount"] for transaction in await page(user, query)]


def next_page(reply: Reply) -> str | None:
    match = re.fullmatch(r'<(.+)>; rel="next"', reply.headers.get("Link", ""))
    return match[1] if match else None


# Spending


async def test_a_spend_answers_with_transaction_and_balance(database: Database, user: Session) -> None:
    reply = await user.use(30, metadata={"pages": [1, 2.5, {"ä": None}]}, idempotencyKey="k")
    assert reply.status == 200
    assert set(reply.body) == {"success", "transaction", "newBalance"}
    transaction = reply.body["transaction"]
    assert set(transaction) == TRANSACTION
    assert UUID(transaction["id"]).version == 7
    assert datetime.fromisoformat(transaction["createdAt"]) == datetime.fromisoformat(transaction["completedAt"])
    assert {name: transaction[name] for name in TRANSACTION - {"id", "createdAt", "completedAt"}} == {
        "userId": user.user_id, "type": "usage", "status": "completed", "amount": -30,
        "balanceBefore": 150, "balanceAfter": 120, "appId": "tests", "description": "a test",
        "metadata": {"pages": [1, 2.5, {"ä": None}]}, "idempotencyKey": "k",
    }  # fmt: skip
    assert reply.body["newBalance"] == {"balance": 0, "freeCreditsRemaining": 120, "totalSpent": 30, "version": 2}
    database.assert_ledger_is_sound()


async def test_a_balance_has_this_shape(database: Database, user: Session) -> None:
    database.give_credits(user.user_id, paid=40)
    await user.use(1)
    balance = await user.balance()
    [(created_at,)] = database.query("select created_at from credits.balances where user_id = %s", user.user_id)
    next_at = datetime.fromisoformat(balance.pop("nextDailyCreditsAt"))
    assert abs(next_at - created_at - DAY) < timedelta(milliseconds=1)
    assert balance == {
        "balance": 40, "freeCreditsRemaining": 149, "held": 0, "debt": 0, "spendable": 189,
        "totalEarned": 190, "totalSpent": 1, "dailyFreeCredits": 5, "version": 3,
    }  # fmt: skip


async def test_free_credits_are_spent_first(database: Database, user: Session) -> None:
    database.give_credits(user.user_id, paid=100)
    reply = await user.use(160)
    assert (reply.body["newBalance"]["freeCreditsRemaining"], reply.body["newBalance"]["balance"]) == (0, 90)
    reply = await user.use(90)
    assert (reply.body["newBalance"]["freeCreditsRemaining"], reply.body["newBalance"]["balance"]) == (0, 0)
    database.assert_ledger_is_sound()


async def test_of_a_hundred_spends_at_once_sixty_succeed(database: Database, user: Session) -> None:
    await user.use(90)
    replies = await together(*(user.use(1) for _ in range(100)))
    assert statuses(replies) == [200] * 60 + [402] * 40
    assert sorted(reply.body["transaction"]["balanceAfter"] for reply in replies if reply.status == 200) == [*range(60)]
    balance = await user.balance()
    assert (balance["freeCreditsRemaining"], balance["totalSpent"], balance["version"]) == (0, 150, 62)
    database.assert_ledger_is_sound()


async def test_a_refused_spend_changes_nothing(database: Database, user: Session) -> None:
    before = await user.balance()
    assert_problem(await user.use(151), 402, "insufficient_credits")
    assert await user.balance() == before
    assert await amounts(user) == [150]
    database.assert_ledger_is_sound()


# Idempotency


async def test_eight_requests_with_one_key_are_charged_once(database: Database, user: Session) -> None:
    for _ in range(10):
        key, before = str(uuid4()), await user.balance()
        replies = await together(*(user.use(7, idempotencyKey=key) for _ in range(8)))
        assert statuses(replies) == [200] * 8
        assert len({reply.text for reply in replies}) == 1
        assert replays(replies) == 7
        after = await user.balance()
        assert after["totalSpent"] == before["totalSpent"] + 7
    database.assert_ledger_is_sound()


async def test_a_late_retry_gets_the_first_answer(database: Database, user: Session) -> None:
    first = await user.use(7, idempotencyKey="k", metadata={"b": 1, "a": [2]})
    await user.use(143)
    database.move_clock(400 * DAY)
    user = await user.service.session(user.email)
    retry = await user.use(7, idempotencyKey="k", metadata={"a": [2], "b": 1})
    assert retry.text == first.text
    assert (replays([first]), replays([retry])) == (0, 1)


async def test_a_key_in_the_header_is_the_key_in_the_body(database: Database, user: Session) -> None:
    in_body = await user.use(7, idempotencyKey="k")
    body = {"amount": 7, "appId": "tests", "description": "a test"}
    in_header = await user.post("/api/v1/credits/use", body, headers={"Idempotency-Key": "k"})
    in_both = await user.post("/api/v1/credits/use", body | {"idempotencyKey": "k"}, headers={"Idempotency-Key": "k"})
    assert in_body.text == in_header.text == in_both.text
    assert (await user.balance())["totalSpent"] == 7
    database.assert_ledger_is_sound()


@pytest.mark.parametrize(
    ("header", "key"),
    [('"k"', "k"), ('"order 5, part 2"', "order 5, part 2"), (r'"a\"b\\c"', r'a"b\c'), ("a'b", "a'b")],
)
async def test_a_key_in_the_header_may_be_a_string_of_rfc_9651(user: Session, header: str, key: str) -> None:
    body = {"amount": 7, "appId": "tests", "description": "a test"}
    first = await user.post("/api/v1/credits/use", body, headers={"Idempotency-Key": header})
    assert first.body["transaction"]["idempotencyKey"] == key
    both = await user.post("/api/v1/credits/use", body | {"idempotencyKey": key}, headers={"Idempotency-Key": header})
    assert (both.text, replays([both])) == (first.text, 1)
    assert (await user.balance())["totalSpent"] == 7


async def test_two_keys_in_header_and_body_are_refused(user: Session) -> None:
    body = {"amount": 7, "appId": "tests", "description": "a test", "idempotencyKey": "k"}
    reply = await user.post("/api/v1/credits/use", body, headers={"Idempotency-Key": "l"})
    assert_problem(reply, 400, "invalid_request")
    assert [error["field"] for error in reply.body["errors"]] == ["idempotencyKey"]
    assert (await user.balance())["totalSpent"] == 0


@pytest.mark.parametrize(
    "other",
    [{"amount": 8}, {"description": "another"}, {"metadata": {}}],
    ids=lambda o: next(iter(o)),
)
async def test_a_key_is_refused_for_a_request_with_another(user: Session, other: dict[str, Any]) -> None:
    request: dict[str, Any] = {"amount": 7, "idempotencyKey": "k"}
    await user.use(**request)
    assert_problem(await user.use(**(request | other)), 422, "idempotency_key_reused")
    assert (await user.balance())["totalSpent"] == 7


async def test_the_same_key_of_another_app_is_another_key(user: Session) -> None:
    for app in ("one", "two", "one"):
        assert (await user.use(amount=7, idempotencyKey="k", appId=app)).status == 200
    assert (await user.balance())["totalSpent"] == 14


@EVERY_GATEWAY
async def test_two_requests_with_one_key_at_once_are_one_spend_and_one_refusal(
    database: Database, user: Session
) -> None:
    for _ in range(10):
        key = str(uuid4())
        replies = await together(user.use(1, idempotencyKey=key), user.use(2, idempotencyKey=key))
        assert statuses(replies) == [200, 422]
    database.assert_ledger_is_sound()


async def test_another_user_s_key_is_nothing_to_me(database: Database, user: Session) -> None:
    other = await user.service.new_session()
    mine, theirs = await user.use(7, idempotencyKey="k"), await other.use(9, idempotencyKey="k")
    assert statuses([mine, theirs]) == [200, 200]
    assert replays([mine, theirs]) == 0
    assert (await user.balance())["totalSpent"] == 7
    assert (await other.balance())["totalSpent"] == 9
    database.assert_ledger_is_sound()


async def test_the_retry_of_a_refused_request_is_decided_again(database: Database, user: Session) -> None:
    assert_problem(await user.use(160, idempotencyKey="k"), 402, "insufficient_credits")
    database.give_credits(user.user_id, paid=10)
    again = await user.use(160, idempotencyKey="k")
    assert (again.status, replays([again])) == (200, 0)
    assert replays([await user.use(160, idempotencyKey="k")]) == 1
    database.assert_ledger_is_sound()


# Versions


async def test_a_moved_version_is_a_conflict(user: Session) -> None:
    version = (await user.balance())["version"]
    assert (await user.use(1, expectedVersion=version)).status == 200
    assert_problem(await user.use(1, expectedVersion=version), 409, "version_conflict")
    assert (await user.use(1, expectedVersion=version + 1)).status == 200


async def test_of_eight_spends_that_saw_one_version_one_succeeds(database: Database, user: Session) -> None:
    version = (await user.balance())["version"]
    replies = await together(*(user.use(1, expectedVersion=version) for _ in range(8)))
    assert statuses(replies) == [200] + [409] * 7
    database.assert_ledger_is_sound()


async def test_a_retry_gets_its_answer_although_the_version_moved(user: Session) -> None:
    version = (await user.balance())["version"]
    replies = [await user.use(1, expectedVersion=version, idempotencyKey="k") for _ in range(2)]
    assert replies[0].text == replies[1].text
    assert replays(replies) == 1


# The daily grant


async def test_reads_and_a_spend_at_the_window_s_edge_bring_one_grant(database: Database, user: Session) -> None:
    free = 150
    for grants, days in enumerate((1, 2, 3, 4, 6), start=1):
        database.move_clock(days * DAY)
        spend, *reads = await together(user.use(3), *(user.get("/api/v1/credits/balance") for _ in range(8)))
        assert spend.status == 200
        assert statuses(reads) == [200] * 8
        seen = {reply.body["freeCreditsRemaining"] for reply in reads}
        assert seen <= {free + 5, free + 2}
        free += 2
        balance = await user.balance()
        assert (balance["freeCreditsRemaining"], balance["totalSpent"]) == (free, 3 * grants)
        assert balance["totalEarned"] == 150 + 5 * grants
        granted = [found for found in await page(user, "?type=bonus") if found["description"] == "Daily credits"]
        assert [found["amount"] for found in granted] == [5] * grants
    database.assert_ledger_is_sound()


async def test_a_grant_is_not_paid_before_its_window(database: Database, user: Session) -> None:
    # The real clock runs on while this test does.
    database.move_clock(DAY - timedelta(minutes=5))
    assert (await user.balance())["totalEarned"] == 150
    database.move_clock(DAY)
    assert (await user.balance())["totalEarned"] == 155


async def test_a_spend_can_use_the_grant_that_it_brings(database: Database, user: Session) -> None:
    database.move_clock(DAY)
    reply = await user.use(155)
    assert reply.status == 200
    assert await amounts(user) == [-155, 5, 150]
    database.assert_ledger_is_sound()


async def test_a_refused_spend_takes_its_grant_back_and_the_next_read_pays_it(
    database: Database, user: Session
) -> None:
    database.move_clock(DAY)
    assert_problem(await user.use(156), 402, "insufficient_credits")
    assert (await user.balance())["freeCreditsRemaining"] == 155
    assert await amounts(user) == [5, 150]
    database.assert_ledger_is_sound()


async def test_missed_windows_are_not_paid(database: Database, user: Session) -> None:
    database.move_clock(6 * DAY)
    assert (await user.balance())["totalEarned"] == 155
    database.move_clock(6 * DAY + timedelta(hours=20))
    assert (await user.balance())["totalEarned"] == 155
    assert await amounts(user, "?type=bonus") == [5, 150]
    database.assert_ledger_is_sound()


async def test_the_next_grant_is_announced_for_the_next_window(database: Database, user: Session) -> None:
    [(created_at,)] = database.query("select created_at from credits.balances where user_id = %s", user.user_id)
    for days in (0, 1, 5):
        database.move_clock(days * DAY)
        announced = datetime.fromisoformat((await user.balance())["nextDailyCreditsAt"])
        assert abs(announced - created_at.astimezone(UTC) - (days + 1) * DAY) < timedelta(milliseconds=1)


async def test_a_version_that_was_read_before_the_window_s_edge_is_still_good(
    database: Database, user: Session
) -> None:
    version = (await user.balance())["version"]
    database.move_clock(DAY)
    assert (await user.use(1, expectedVersion=version)).status == 200


# Transactions


@pytest.fixture
async def history(database: Database, user: Session) -> list[dict[str, Any]]:
    """Eight transactions of ``user``, newest first."""
    for amount in (1, 2, 3):
        await user.use(amount, appId="one")
    database.give_credits(user.user_id, paid=50)
    for amount in (4, 5, 6):
        await user.use(amount, appId="two")
    found = await page(user)
    assert [transaction["amount"] for transaction in found] == [-6, -5, -4, 50, -3, -2, -1, 150]
    return found


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", slice(0, 8)),
        ("?limit=3", slice(0, 3)),
        ("?limit=100", slice(0, 8)),
        ("?offset=6", slice(6, 8)),
        ("?offset=8", slice(8, 8)),
        ("?limit=3&offset=2", slice(2, 5)),
        ("?limit=3&offset=7", slice(7, 8)),
    ],
)
async def test_a_page_has_these_of_eight(
    user: Session, history: list[dict[str, Any]], query: str, expected: slice
) -> None:
    assert await page(user, query) == history[expected]


@pytest.mark.parametrize(
    ("query", "expected"),
    [("", slice(3, 8)), ("&limit=2", slice(3, 5)), ("&offset=1", slice(4, 8)), ("&limit=2&offset=1", slice(4, 6))],
)
async def test_a_page_before_the_third_has_these_of_eight(
    user: Session, history: list[dict[str, Any]], query: str, expected: slice
) -> None:
    assert await page(user, f"?before={history[2]['id']}{query}") == history[expected]


async def test_before_the_last_one_there_is_nothing(user: Session, history: list[dict[str, Any]]) -> None:
    assert await page(user, f"?before={history[-1]['id']}") == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?type=usage", [-6, -5, -4, -3, -2, -1]),
        ("?type=bonus", [150]),
        ("?type=adjustment", [50]),
        ("?type=refund", []),
        ("?appId=one", [-3, -2, -1]),
        ("?appId=ONE", []),
        ("?appId=two&type=usage&limit=2", [-6, -5]),
        ("?appId=two&type=bonus", []),
        ("?type=usage&offset=4", [-2, -1]),
    ],
)
@pytest.mark.usefixtures("history")
async def test_a_filter_leaves(user: Session, query: str, expected: list[int]) -> None:
    assert await amounts(user, query) == expected


async def test_a_transaction_is_listed_as_it_was_answered(user: Session) -> None:
    spent = await user.use(3, metadata={"a": 1}, idempotencyKey="k")
    assert (await page(user, "?limit=1")) == [spent.body["transaction"]]


async def test_an_idempotency_key_finds_its_spend(user: Session) -> None:
    spent = await user.use(3, appId="one", idempotencyKey="order 1+2")
    other = await user.use(4, appId="two", idempotencyKey="order 1+2")
    key = quote("order 1+2", safe="")
    assert await page(user, f"?idempotencyKey={key}&appId=one") == [spent.body["transaction"]]
    assert await page(user, f"?idempotencyKey={key}") == [other.body["transaction"], spent.body["transaction"]]
    assert await page(user, "?idempotencyKey=order") == []


async def test_without_parameters_there_are_fifty(user: Session) -> None:
    for _ in range(51):
        await user.use(1)
    assert len(await page(user)) == 50


async def test_links_lead_through_everything_once_while_more_is_added(
    user: Session, history: list[dict[str, Any]]
) -> None:
    link: str | None = f"{TRANSACTIONS}?limit=2"
    walked = []
    while link:
        reply = await user.get(link)
        walked += reply.body
        await user.use(1, appId="three")
        link = next_page(reply)
    assert walked == history


@pytest.mark.usefixtures("history")
async def test_links_keep_filter_and_limit(user: Session) -> None:
    link: str | None = f"{TRANSACTIONS}?limit=2&type=usage&appId=one"
    walked = []
    while link:
        reply = await user.get(link)
        walked.append([transaction["amount"] for transaction in reply.body])
        link = next_page(reply)
    assert walked == [[-3, -2], [-1]]


@pytest.mark.usefixtures("history")
async def test_a_link_after_an_offset_does_not_skip_twice(user: Session) -> None:
    reply = await user.get(f"{TRANSACTIONS}?limit=2&offset=2")
    link = next_page(reply)
    assert link
    assert await amounts(user, link.removeprefix(TRANSACTIONS)) == [-3, -2]


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize("query", ["", "?limit=8", "?limit=3&offset=5", "?type=bonus"])
async def test_the_last_page_has_no_link(user: Session, query: str) -> None:
    assert "Link" not in (await user.get(TRANSACTIONS + query)).headers


async def test_another_user_s_transaction_as_cursor_shows_nothing_of_theirs(
    user: Session, history: list[dict[str, Any]]
) -> None:
    other = await user.service.new_session()
    for cursor in (history[0]["id"], str(uuid4()), "ffffffff-ffff-ffff-ffff-ffffffffffff"):
        assert {found["userId"] for found in await page(other, f"?before={cursor}")} <= {other.user_id}


MANY = """
do $$
begin
    for i in 1..11000 loop  -- beyond the deep page by more than a bin of the histogram: the planner reads the ends
        perform _credits.post_movements(array[row(
            auth.uid(), 'adjustment', 'adjustments', 0, 1, 'many', null, null, null, null, null
        )::credits.movement]);
        if i % 100 = 0 then commit; end if;
    end loop;
end
$$
"""


async def test_the_cost_of_a_page_does_not_grow_with_its_depth(database: Database, user: Session) -> None:
    with database.connect() as connection:
        connection.execute("select set_config('request.user_ids', %s, false)", (user.user_id,))
        connection.execute("set role mana_ledger")
        connection.execute(MANY)
        connection.execute("reset role")
        connection.execute("vacuum analyze credits.transactions")

        def buffers(arguments: str) -> int:
            statement = f"explain (analyze, buffers, format json) select * from credits.list_transactions({arguments})"
            # What a first call reads of the catalog is not the page's.
            for _ in range(2):
                with connection.transaction():
                    connection.execute("select auth.act_as(%s)", (user.user_id,))
                    [(plan,)] = connection.execute(statement.encode()).fetchall()
            hit: int = plan[0]["Plan"]["Shared Hit Blocks"]
            read: int = plan[0]["Plan"]["Shared Read Blocks"]
            return hit + read

        [(cursor,)] = connection.execute(
            "select id from credits.transactions where user_id = %s order by id desc offset 10000 limit 1",
            (user.user_id,),
        ).fetchall()
        for mode in ("force_generic_plan", "force_custom_plan"):
            connection.execute("select set_config('plan_cache_mode', %s, false)", (mode,))
            first, deep = buffers("50"), buffers(f"50, p_before => '{cursor}'")
            assert deep <= first + 5, mode
            assert buffers("50, 10000") > 2 * first, mode
    database.assert_ledger_is_sound()


# Purchases and packages


async def test_without_a_purchase_the_list_is_empty(user: Session) -> None:
    reply = await user.get("/api/v1/credits/purchases")
    assert (reply.status, reply.body) == (200, [])


async def test_purchases_are_one_s_own_newest_first(database: Database, user: Session) -> None:
    other = await user.service.new_session()
    for owner, price in ((user, 100), (other, 200), (user, 300)):
        database.query(
            """insert into credits.purchases
                   (user_id, id, credits, price_euro_cents, stripe_payment_intent_id, created_at)
               values (%s, base.uuid_v7(clock_timestamp()), 10, %s, 'pi_' || %s, clock_timestamp())""",
            owner.user_id, price, str(price),
        )  # fmt: skip
    reply = await user.get("/api/v1/credits/purchases")
    assert [purchase["priceEuroCents"] for purchase in reply.body] == [300, 100]
    newest = reply.body[0]
    assert datetime.fromisoformat(newest.pop("createdAt"))
    assert UUID(newest.pop("id")).version == 7
    assert newest == {
        "packageId": None, "credits": 10, "priceEuroCents": 300, "stripePaymentIntentId": "pi_300",
        "status": "pending", "completedAt": None,
    }  # fmt: skip


async def test_packages_are_the_active_ones_in_order(database: Database, user: Session) -> None:
    database.query("select credits.seed_packages()")
    database.query("update credits.packages set active = (name <> 'Basic')")
    reply = await user.get("/api/v1/credits/packages")
    assert reply.status == 200
    assert [package["name"] for package in reply.body] == ["Starter", "Pro", "Studio"]
    assert set(reply.body[0]) == {
        "id", "name", "description", "credits", "priceEuroCents", "sortOrder", "active", "stripePriceId", "metadata",
    }  # fmt: skip
    assert (reply.body[0]["credits"], reply.body[0]["priceEuroCents"]) == (100, 100)
