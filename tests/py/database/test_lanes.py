"""Which call goes next and in whose company, with a stand-in for the connection and a clock that only waiting moves."""

from __future__ import annotations

import asyncio
import selectors
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from gateway.database.calls import Call, Reply, Statement
from gateway.database.lanes import AGAIN_AFTER, BATCH, STALLED_AFTER, Lane
from gateway.database.refusals import Failure
from gateway.problems import Problem

SPEND = Statement("spend", "sql", serves_many=True, names_user=True)
LIST = Statement("list", "sql", names_user=True)
REFRESH = Statement("refresh", "sql", names_user=True)
OTHER = Statement("other", "sql", serves_many=True, names_user=True)
HEALTH = Statement("health", "sql", looks=True)

Outcome = Sequence[Reply | None] | Failure


class Clockwork(selectors.SelectSelector):
    """A selector that does not sleep: the time it is asked to wait has passed at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += max(timeout or 0.0, 0.0)
        return super().select(0)


class ClockworkLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clockwork = Clockwork()
        super().__init__(self._clockwork)

    def time(self) -> float:
        return self._clockwork.now


def timeless(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in a loop of its own, whose time passes only while everything waits."""

    def run() -> None:
        with asyncio.Runner(loop_factory=ClockworkLoop) as runner:
            runner.run(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


class StandIn:
    """A connection that remembers what was sent over it and answers when told."""

    def __init__(self, lane: Lane, *, breaks: bool = False) -> None:
        self.sent: list[list[tuple[str, str]]] = []  # the function and the user of each call
        self.waited: list[bool] = []  # for locks, each statement
        self._lane = lane
        self._breaks = breaks
        self._answered = 0

    def send(self, calls: Sequence[Call]) -> None:
        assert len({call.statement for call in calls}) == 1
        self.sent.append(
            [(call.statement.name, (call.arguments[0] or b"").decode() if call.arguments else "") for call in calls]
        )
        self.waited.append(calls[0].waits)
        if self._breaks:
            self._lane.leave(self)

    @property
    def busy(self) -> bool:
        return len(self.sent) > self._answered

    def answer(self, outcome: Outcome | None = None) -> None:
        """End the statement on its way: with a reply for each call, unless another outcome is given."""
        self._answered = len(self.sent)
        served = [Reply(200, user.encode(), {}) for _, user in self.sent[-1]]
        self._lane.answered(self, served if outcome is None else outcome)
        self._lane.send_waiting()

    @property
    def users(self) -> list[str]:
        """Whose calls each statement carried."""
        return ["".join(user for _, user in calls) for calls in self.sent]


def a_lane(connections: int = 1, *, busy: int = 1, queue: int = 100, patience: float = 1.0) -> tuple[Lane, ...]:
    lane = Lane("test", busy, queue, patience=patience, clock=asyncio.get_running_loop().time)
    return lane, *(_joined(lane) for _ in range(connections))  # type: ignore[return-value]


def _joined(lane: Lane) -> StandIn:
    connection = StandIn(lane)
    lane.join(connection)
    return connection


def calling(lane: Lane, users: str, statement: Statement = SPEND) -> list[asyncio.Task[Reply]]:
    return [asyncio.create_task(lane.call(statement, [user.encode()])) for user in users]


async def turn() -> None:
    """Let the calls that were made in this turn of the loop be sent."""
    for _ in range(3):
        await asyncio.sleep(0)


async def outcomes(calls: list[asyncio.Task[Reply]]) -> str:
    """The body of each reply, the code's first letter of each problem."""
    done = await asyncio.gather(*calls, return_exceptions=True)
    return "".join(
        reply.body.decode() if isinstance(reply, Reply) else f"<{reply.code}>" if isinstance(reply, Problem) else "?"
        for reply in done
    )


@timeless
async def test_calls_of_one_turn_go_together() -> None:
    lane, connection = a_lane()
    calls = calling(lane, "abc")
    await turn()
    assert connection.users == ["abc"]
    connection.answer()
    assert await outcomes(calls) == "abc"


@timeless
async def test_a_function_without_a_form_for_many_is_called_once_for_each() -> None:
    lane, connection = a_lane()
    calls = calling(lane, "ab", LIST)
    await turn()
    assert connection.users == ["a"]
    connection.answer()
    assert connection.users == ["a", "b"]
    connection.answer()
    assert await outcomes(calls) == "ab"


@timeless
async def test_a_statement_carries_calls_of_one_function() -> None:
    lane, connection = a_lane()
    calling(lane, "ab")
    calling(lane, "c", OTHER)
    calling(lane, "d")
    await turn()
    connection.answer()
    assert connection.sent == [[("spend", "a"), ("spend", "b"), ("spend", "d")], [("other", "c")]]


@timeless
async def test_a_statement_carries_a_limited_number_of_calls() -> None:
    lane, connection = a_lane(queue=1000)
    calling(lane, "x" * (BATCH + 1))
    await turn()
    connection.answer()
    assert [len(sent) for sent in connection.sent] == [BATCH, 1]


@timeless
async def test_a_second_call_of_a_user_waits_for_the_first() -> None:
    lane, first, second = a_lane(2, busy=2)
    calling(lane, "a")
    await turn()
    calling(lane, "ab")
    await turn()
    assert sorted(first.users + second.users) == ["a", "b"]
    holder = first if first.users == ["a"] else second
    holder.answer()
    assert holder.users == ["a", "a"]


@timeless
async def test_calls_of_a_user_to_another_function_do_not_wait() -> None:
    lane, first, second = a_lane(2, busy=2)
    calling(lane, "a")
    await turn()
    calling(lane, "a", OTHER)
    await turn()
    assert sorted([*first.sent[0], *second.sent[0]]) == [("other", "a"), ("spend", "a")]


@timeless
async def test_while_a_company_is_at_work_others_of_its_function_gather() -> None:
    lane, first, second = a_lane(2, busy=2)
    calling(lane, "ab")
    await turn()
    calling(lane, "c")
    calling(lane, "d")
    calling(lane, "e", LIST)
    await turn()
    assert sorted(first.users + second.users) == ["ab", "e"]
    (first if first.users == ["ab"] else second).answer()
    assert sorted(first.users + second.users) == ["ab", "cd", "e"]


@timeless
async def test_a_call_that_was_left_out_goes_again_later_without_waiting() -> None:
    lane, connection = a_lane()
    calls = calling(lane, "abc")
    await turn()
    connection.answer([Reply(200, b"a", {}), None, Reply(200, b"c", {})])
    assert connection.users == ["abc"]
    await asyncio.sleep(AGAIN_AFTER[0])
    assert (connection.users, connection.waited) == (["abc", "b"], [False, False])
    connection.answer()
    assert await outcomes(calls) == "abc"


async def leave_out(connection: StandIn, user: str) -> None:
    """Leave the user's call out until it goes no more without waiting."""
    for delay in AGAIN_AFTER:
        assert connection.users[-1] == user
        connection.answer([None])
        await asyncio.sleep(delay)
        await turn()
    assert connection.users[-1] == user
    connection.answer([None])


@timeless
async def test_a_call_that_was_left_out_too_often_waits_for_the_lock() -> None:
    lane, connection = a_lane()
    calls = calling(lane, "a")
    await turn()
    await leave_out(connection, "a")
    assert connection.waited == [False] * (1 + len(AGAIN_AFTER)) + [True]
    connection.answer([None])
    assert await outcomes(calls) == "<internal_error>", "a function that waits leaves nobody out"


@timeless
async def test_those_who_wait_for_locks_have_a_fourth_of_the_connections() -> None:
    lane, *connections = a_lane(8, busy=2)
    locked = calling(lane, "abcdefgh")
    await turn()
    for _ in range(1 + len(AGAIN_AFTER)):
        for connection in connections:
            if connection.busy:
                connection.answer([None] * len(connection.sent[-1]))
        await asyncio.sleep(max(AGAIN_AFTER))
        await turn()
    assert sum(connection.waited[-1:] == [True] for connection in connections) == 2
    assert (lane.in_flight, lane.waiting) == (2, 6)
    others = calling(lane, "xyz")
    await turn()
    [free] = [connection for connection in connections if connection.users[-1:] == ["xyz"]]
    free.answer()
    assert await outcomes(others) == "xyz"
    assert await outcomes(locked[2:]) == "<service_unavailable>" * 6


@timeless
async def test_calls_that_wait_for_locks_fill_a_fourth_of_the_queue() -> None:
    lane, *connections = a_lane(2, busy=2, queue=16)
    locked = calling(lane, "abcdefgh")
    for _ in range(1 + len(AGAIN_AFTER)):
        await turn()
        for connection in connections:
            if connection.busy:
                connection.answer([None] * len(connection.sent[-1]))
        await asyncio.sleep(max(AGAIN_AFTER))
    refused = [call for call in locked if call.done()]
    assert await outcomes(refused) == "<service_unavailable>" * 4
    assert (lane.in_flight, lane.waiting) == (1, 3)


@timeless
async def test_a_function_that_serves_one_does_not_take_the_lane() -> None:
    lane, *connections = a_lane(8, busy=2)
    calling(lane, "abcdefgh", LIST)
    calling(lane, "ijklmnop", REFRESH)
    for _ in range(5):
        await asyncio.sleep(2 * STALLED_AFTER)
    at_work = Counter(connection.sent[-1][0][0] for connection in connections if connection.sent)
    assert at_work == {"list": 2, "refresh": 2}


@timeless
async def test_one_function_at_a_time_serves_a_user() -> None:
    lane, *connections = a_lane(8, busy=2)
    calling(lane, "aaaa", LIST)
    await asyncio.sleep(2 * STALLED_AFTER)
    assert sum(len(connection.sent) for connection in connections) == 1


@timeless
async def test_a_user_fills_a_fourth_of_the_queue() -> None:
    lane, _ = a_lane(queue=40)
    mine = calling(lane, "a" * 20)
    theirs = calling(lane, "bcdefghijk")
    await turn()
    refused = [call for call in mine if call.done()]
    assert len(refused) == 10
    assert not any(call.done() for call in theirs)


@timeless
async def test_a_look_at_the_database_goes_before_all_others_and_into_a_full_queue() -> None:
    lane, connection = a_lane(queue=3)
    calling(lane, "a", LIST)
    await turn()
    calling(lane, "bcd", LIST)
    await turn()
    look = asyncio.create_task(lane.call(HEALTH, []))
    await turn()
    connection.answer()
    assert connection.sent[-1] == [("health", "")]
    connection.answer()
    assert (await look).status == 200


@timeless
async def test_when_a_statement_for_many_fails_each_call_goes_again_alone_in_order() -> None:
    lane, connection = a_lane()
    calls = calling(lane, "abc")
    await turn()
    connection.answer(Failure("XX000"))
    connection.answer()
    connection.answer(Failure("PT402", "insufficient_credits", "Not enough."))
    connection.answer()
    assert connection.users == ["abc", "a", "b", "c"]
    assert await outcomes(calls) == "a<insufficient_credits>c"


@timeless
async def test_a_call_that_goes_alone_may_wait_as_long_again() -> None:
    lane, connection = a_lane(patience=1.0)
    calls = calling(lane, "ab")
    await turn()
    await asyncio.sleep(0.9)
    connection.answer(Failure("XX000"))
    await asyncio.sleep(0.9)
    connection.answer()
    connection.answer()
    assert await outcomes(calls) == "ab"


@timeless
async def test_a_full_queue_refuses_at_once() -> None:
    lane, connection = a_lane(queue=2)
    calling(lane, "a")
    await turn()
    waiting = calling(lane, "bcd")
    await turn()
    assert lane.waiting == 2
    with pytest.raises(Problem) as refusal:
        await waiting[2]
    assert refusal.value.code == "service_unavailable"
    assert refusal.value.headers == {"Retry-After": "1"}
    assert connection.users == ["a"]


@timeless
async def test_a_call_is_refused_when_its_patience_is_over() -> None:
    lane, connection = a_lane(patience=0.5)
    sent = calling(lane, "a")
    await turn()
    waiting = calling(lane, "a")
    began = asyncio.get_running_loop().time()
    assert await outcomes(waiting) == "<service_unavailable>"
    waited = asyncio.get_running_loop().time() - began
    assert 0.5 <= waited <= 0.5 + 2 * STALLED_AFTER
    assert lane.waiting == 0
    connection.answer()  # what was sent has all the time that it takes
    assert await outcomes(sent) == "a"


@timeless
async def test_as_many_statements_are_at_work_as_should_be() -> None:
    lane, *connections = a_lane(9, busy=2)
    calling(lane, "abc", LIST)
    await turn()
    assert sorted(len(connection.sent) for connection in connections) == [0] * 7 + [1, 1]
    assert (lane.in_flight, lane.waiting, lane.connections) == (2, 1, 9)


@timeless
async def test_a_statement_that_stalls_leaves_its_place_to_another_connection() -> None:
    lane, first, second = a_lane(2, busy=1)
    calling(lane, "a")
    await turn()
    calling(lane, "b")
    await turn()
    assert len(first.sent) + len(second.sent) == 1
    await asyncio.sleep(2 * STALLED_AFTER)
    assert sorted(first.users + second.users) == ["a", "b"]


@timeless
async def test_the_calls_of_a_lost_connection_fail_and_the_others_go_on() -> None:
    lane, first, second = a_lane(2, busy=2)
    ours = calling(lane, "a")
    await turn()
    theirs = calling(lane, "b")
    await turn()
    lost, kept = (first, second) if first.users == ["a"] else (second, first)
    lane.leave(lost)
    kept.answer()
    assert (await outcomes(ours), await outcomes(theirs)) == ("<service_unavailable>", "b")
    assert lane.connections == 1


@timeless
async def test_a_connection_that_breaks_while_sending_is_replaced() -> None:
    lane, connection = a_lane()
    lane.leave(connection)
    lane.join(StandIn(lane, breaks=True))
    broken = calling(lane, "a")
    await turn()
    assert await outcomes(broken) == "<service_unavailable>"
    calls = calling(lane, "b")
    await turn()
    after = _joined(lane)
    assert after.users == ["b"]
    after.answer()
    assert await outcomes(calls) == "b"


@timeless
async def test_a_client_that_went_away_does_not_disturb_its_company() -> None:
    lane, connection = a_lane()
    gone, stays = calling(lane, "ab")
    await turn()
    gone.cancel()
    await turn()
    connection.answer()
    assert await outcomes([stays]) == "b"


@timeless
async def test_calls_wait_for_the_first_connection() -> None:
    lane, *_ = a_lane(0)
    calls = calling(lane, "ab")
    await turn()
    connection = _joined(lane)
    assert connection.users == ["ab"]
    connection.answer()
    assert await outcomes(calls) == "ab"
