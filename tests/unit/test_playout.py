"""When a watcher is to show frames as they come."""

from __future__ import annotations

import random

from server.media.send.playout import AS_NEEDED, AT_ONCE, SELDOM, UNEVEN, PlayoutDelay


def values(delay: PlayoutDelay, *standing: float) -> list[bytes]:
    found = []
    for one in standing:
        delay.add(one)
        found.append(delay.value)
    return found


def test_frames_are_shown_at_once_while_packets_come_evenly() -> None:
    delay, chance = PlayoutDelay(), random.Random(7)
    assert delay.value == AT_ONCE == b"\0\0\0"
    assert set(values(delay, *(chance.uniform(0, UNEVEN) for _ in range(600)))) == {AT_ONCE}


def test_one_late_packet_now_and_then_changes_nothing() -> None:
    delay = PlayoutDelay()
    assert set(values(delay, *([1.0] + [0.0] * 99) * 20)) == {AT_ONCE}


def test_a_path_that_is_often_uneven_is_left_to_the_browser_and_comes_back_when_it_is_calm() -> None:
    delay = PlayoutDelay()
    while_uneven = values(delay, *([0.1, 0.0, 0.0, 0.0] * 30))
    assert while_uneven[-1] == AS_NEEDED and while_uneven.count(AT_ONCE) < 30
    assert int.from_bytes(AS_NEEDED, "big") == 1000  # 0 and 10,000 ms, in steps of 10
    calm = values(delay, *[0.0] * 600)
    turn = calm.index(AT_ONCE)
    assert turn > 100 and set(calm[turn:]) == {AT_ONCE}


def test_between_the_two_shares_all_stays_as_it_is() -> None:
    share = 3 * SELDOM
    for begun, wanted in (([0.0] * 10, AT_ONCE), ([1.0] * 20, AS_NEEDED)):
        delay = PlayoutDelay()
        values(delay, *begun)
        assert set(values(delay, *([1.0] + [0.0] * (round(1 / share) - 1)) * 30)[300:]) == {wanted}
