"""The limits of offers and candidates as a client meets them."""

from __future__ import annotations

import httpx
import pytest

from tests.unit.limited_rooms import candidates, is_problem, serving
from tests.unit.test_negotiation import offer, section


async def test_offers_of_one_address_are_limited() -> None:
    async with serving(sessions_per_minute=3) as relay:
        for _ in range(3):
            assert (await relay.publish("r", "ann", "no offer")).status_code == 400
        answer = await relay.watch("r", "ann", "no offer")
        assert is_problem(answer, 429, "at most 3 a minute") and answer.headers["retry-after"] == "20"
        assert relay.refused("sessions") == 1


@pytest.mark.parametrize(
    ("settings", "sdp", "says"),
    [
        ({"max_sdp_bytes": 5000}, offer(section()) + "a=x:" + "x" * 5000, "at most 5000 bytes"),
        ({"max_sdp_lines": 60}, offer(section()) + "a=x\r\n" * 60, "at most 60 lines"),
        ({"max_sdp_lines": 60}, offer(section()) + "a=x\u2028" * 60, "at most 60 lines"),
        ({}, offer(section() + "a=rtpmap:97 VP8/90000\r\n" * 128), "at most 128"),
        ({"max_sdp_sections": 2}, offer(*(section(mid=str(n)) for n in range(3))), "at most 2"),
    ],
)
async def test_offers_are_bounded(settings: dict[str, int], sdp: str, says: str) -> None:
    async with serving(**settings) as relay:
        assert is_problem(await relay.publish("r", "ann", sdp), 413, says)
        assert relay.refused("sdp") == 1


async def test_candidates_are_limited_offered_and_trickled_ones_together() -> None:
    async with serving(max_candidates=20, max_patches=3) as relay:
        answer = await relay.publish("r", "ann", offer(section("audio")) + candidates(20))
        assert is_problem(answer, 429, "at most 20 candidates") and relay.refused("candidates") == 1
        answer = await relay.publish("r", "ann", offer(section("audio")) + candidates(10))
        assert answer.status_code == 201
        patch = {"content-type": "application/trickle-ice-sdpfrag", "if-match": answer.headers["etag"]}
        at = answer.headers["location"]

        async def trickle(text: str) -> httpx.Response:
            return await relay.http.patch(at, content=f"a=ice-ufrag:abcd\r\n{text}", headers=patch)

        assert is_problem(await trickle(candidates(40, 10)), 429, "at most 20 candidates")
        assert (await trickle(candidates(15, 5))).status_code == 204  # some of which are known
        (one,) = relay.rooms._rooms["r"].participants.values()
        assert len(one.session._transport._ice.connection.remote_candidates) == 16
        assert (await trickle("a=end-of-candidates\r\n")).status_code == 204
        assert is_problem(await trickle("a=end-of-candidates\r\n"), 429, "At most 3 requests")
        assert relay.refused("candidates") == 3


async def test_candidates_that_may_not_be_checked_are_left_out_and_counted() -> None:
    local = "a=candidate:9 1 udp 1 127.0.0.1 5000 typ host\r\na=candidate:8 1 udp 1 169.254.169.254 80 typ host\r\n"
    for host, taken in (("127.0.0.1", {"192.0.2.5", "127.0.0.1"}), ("0.0.0.0", {"192.0.2.5"})):
        async with serving(host=host) as relay:
            assert (await relay.publish("r", "ann", offer(section("audio")) + local)).status_code == 201
            (one,) = relay.rooms._rooms["r"].participants.values()
            remote = one.session._transport._ice.connection.remote_candidates
            assert {candidate.host for candidate in remote} == taken
            assert relay.refused("candidate_address") == 3 - len(taken)
