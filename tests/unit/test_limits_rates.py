"""How often one address may do something, and that the table of addresses does not grow."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest

from server.access.access import Refused, load_access
from server.limits import Limits
from server.limits.rates import AddressLimit, FailedTokens, RateLimit, network
from server.problems import Problem
from server.settings import Settings
from tests.unit.enhancer_stage import Clock


def refusal(call, *arguments) -> Problem:
    with pytest.raises(Problem) as caught:
        call(*arguments)
    return caught.value


def test_as_many_at_once_as_a_minute_has_and_then_as_they_come_back():
    clock = Clock()
    limit = RateLimit(30, clock)
    assert [limit.take("a") for _ in range(30)] == [0] * 30
    assert limit.take("a") == pytest.approx(2.0)
    clock.now += 1.5
    assert limit.take("a") == pytest.approx(0.5)  # and being refused costs nothing
    clock.now += 0.5
    assert limit.take("a") == 0 and limit.take("a") == pytest.approx(2.0)
    assert limit.take("b") == 0
    clock.now += 60
    assert [limit.take("a") for _ in range(31)][-2:] == [0, pytest.approx(2.0)]


def test_no_window_lets_more_through_than_twice_the_limit():
    clock = Clock()
    limit, taken = RateLimit(60, clock), []
    for _ in range(4000):
        if limit.take("a") == 0:
            taken.append(clock.now)
        clock.now += 0.05
    for at in taken:
        assert sum(at <= other < at + 60 for other in taken) <= 120


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("a socket's path", "a socket's path"),
        ("", ""),
    ],
)
def test_ipv6_is_counted_by_64_bits(address, key):
    assert network(address) == key


def test_one_ipv6_host_has_no_more_for_having_many_addresses():
    limit = AddressLimit(RateLimit(5, Clock()), "x", "things", "Wait.")
    for number in range(5):
        limit.take(f"2001:db8::{number:x}")
    assert refusal(limit.take, "2001:db8::ffff:1").status_code == 429
    limit.take("2001:db8:0:1::1")


def test_the_table_is_bounded_whatever_the_number_of_addresses():
    clock = Clock()
    limit = RateLimit(10, clock)
    for number in range(40_960):
        limit.take(network(str(IPv6Address(number << 64))))
        clock.now += 1e-6
        assert len(limit) <= 4096
    for _ in range(20):
        limit.take("one who is there all the time")
    assert limit.take("one who is there all the time") > 0


def test_who_has_been_away_for_long_takes_no_memory():
    clock = Clock()
    limit = RateLimit(10, clock)
    for number in range(1000):
        limit.take(str(number))
    clock.now += 61
    limit.take("one")
    assert len(limit) == 1


def test_a_refusal_says_what_was_too_much_and_when_to_come_again():
    counted, clock = [], Clock()
    limit = AddressLimit(RateLimit(2, clock), "sessions", "offers", "Wait.", counted.append)
    limit.take("192.0.2.7")
    limit.take("192.0.2.7")
    problem = refusal(limit.take, "192.0.2.7")
    assert problem.detail == "Too many offers: at most 2 a minute are taken from one address. Wait."
    assert problem.headers == {"Retry-After": "30"} and counted == ["sessions"]


def test_failed_tokens():
    counted, clock = [], Clock()
    tokens = FailedTokens(RateLimit(3, clock), counted.append)
    for _ in range(3):
        tokens.check("192.0.2.7")
        tokens.failed("192.0.2.7")
    assert refusal(tokens.check, "192.0.2.7").status_code == 429
    assert refusal(tokens.failed, "192.0.2.7").headers == {"Retry-After": "20"}
    tokens.check("192.0.2.8")
    clock.now += 20
    tokens.check("192.0.2.7")
    assert counted == ["failed_tokens"] * 2


def test_the_settings_say_how_much():
    limits = Limits(Settings(_env_file=None, sessions_per_minute=2), clock=Clock())
    limits.sessions.take("a")
    limits.sessions.take("a")
    assert refusal(limits.sessions.take, "a").status_code == 429


async def test_wrong_tokens_are_refused_and_right_ones_behind_the_same_address_are_not():
    access = load_access(Settings(_env_file=None, api_keys="ops:" + "s" * 40, failed_tokens_per_minute=2))
    seen = []
    for shown in ("Bearer a.b.c", "Bearer wrong", "Bearer a.b.c", "Bearer wrong", ""):
        with pytest.raises(Refused) as caught:
            await access.caller(shown, "192.0.2.7")
        seen.append((caught.value.status_code, caught.value.reason))
    assert [status for status, _ in seen] == [401, 401, 429, 429, 401] and seen[2][1] == "failed_tokens"
    assert (await access.caller("Bearer " + "s" * 40, "192.0.2.7")).subject == "key:ops"


def test_a_small_team_behind_one_address_comes_back_at_once():
    """Eight who see each other, after a restart: 64 sessions each, three times within ten seconds."""
    clock = Clock()
    limits = Limits(Settings(_env_file=None), clock=clock)
    for at in (0.0, 0.3, 1.0, 2.2):
        clock.now = 100.0 + at
        for _ in range(8 * 8):
            limits.sessions.take("192.0.2.7")
