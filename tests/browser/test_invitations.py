"""Invitations: they go along with every request, and what they do not allow is told where one is."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import Server, shot, until
from tests.browser.watched import PHONE, asks, refuses, token


def test_an_invitation_is_needed(server: Server, opened) -> None:
    for size, name in ((1280, 800), "desktop"), (PHONE, "phone"):
        watched = opened(*size)
        asks(watched.page, tokens=True)
        watched.page.goto(f"{server.url}/?room=den")
        expect(watched.page.get_by_role("alert")).to_contain_text("by invitation only")
        for label in ("Join", "Turn on camera", "Photos of you"):
            expect(watched.page.get_by_role("button", name=label)).to_be_hidden()
        shot(watched.page, f"token-missing-{name}")
        watched.assert_clean()


def test_a_damaged_invitation_is_told(server: Server, opened) -> None:
    watched = opened()
    watched.page.goto(f"{server.url}/?room=den#token=abc")
    expect(watched.page.get_by_role("alert")).to_contain_text("damaged")
    assert watched.page.evaluate("() => location.href") == f"{server.url}/?room=den"


def test_the_invitation_goes_with_every_request_and_shows_nowhere(server: Server, opened) -> None:
    watched = opened()
    page = watched.page
    asks(page, tokens=True)
    invited = token()
    page.goto(f"{server.url}/?room=den&person=ben&person=cem#token={invited}")
    assert page.evaluate("() => location.hash") == ""
    for label, value in (("Room", "den"), ("Your name", "ann")):
        field = page.get_by_label(label, exact=True)
        expect(field).to_have_value(value)
        assert field.get_attribute("readonly") is not None
    page.get_by_role("button", name="Your face").click()
    name = page.get_by_role("dialog").get_by_label("Photos are kept under")
    expect(name).to_have_value("ann")
    assert name.get_attribute("readonly") is not None
    page.get_by_role("dialog").get_by_role("button", name="Close", exact=True).click()
    shot(page, "lobby-invited")
    page.get_by_role("button", name="Join", exact=True).click()
    expect(page.locator(".tile video").first).to_be_visible(timeout=60_000)
    until(lambda: watched.sent("/ann/bank"), 30, "the own bank is not asked for")
    dashboard = page.get_by_role("link", name="Latency dashboard").get_attribute("href")
    assert dashboard == f"/dashboard#token={invited}"
    page.get_by_role("button", name="Leave the call").click()
    until(lambda: watched.sent("/whip/", "DELETE"), 30, "the session is not ended")
    sent = [one for one in watched.requests if any(part in one.url for part in ("/api/", "/whip/", "/whep/"))]
    kinds = {(one.method, one.url.removeprefix(server.url).split("/")[1]) for one in sent}
    assert {("POST", "whip"), ("POST", "whep"), ("DELETE", "whip"), ("GET", "api")} <= kinds
    assert any(one.url.endswith("/events") for one in sent)
    assert [one.url for one in sent if one.headers.get("authorization") != f"Bearer {invited}"] == []
    assert not any("person=" in one.url for one in sent), "only one's own photos may be used"
    assert not any(invited in one.url for one in watched.requests)
    page.reload()
    expect(page.get_by_label("Your name", exact=True)).to_have_value("ann")  # the tab keeps it
    watched.assert_clean()


def test_what_is_refused_is_told_where_one_is(server: Server, opened) -> None:
    watched = opened()
    page = watched.page
    refuses(page, "**/whip/den/ann*", 409, "The name is held by another subject.")
    page.goto(f"{server.url}/?room=den&name=ann")
    page.get_by_role("button", name="Join", exact=True).click()
    expect(page.locator("#join-message")).to_contain_text("Somebody else in this room has this name.", timeout=30_000)
    expect(page.locator("#call")).to_be_hidden()
    expect(page.get_by_label("Your name", exact=True)).to_be_focused()
    shot(page, "name-taken-desktop")
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    shot(page, "name-taken-phone")

    asks(page, tokens=True)
    refuses(page, "**/api/rooms/den/events", 401, "The token has expired.")
    page.goto(f"{server.url}/?room=den#token={token()}")
    page.get_by_role("button", name="Join", exact=True).click()
    expect(page.locator("#banner")).to_contain_text("Your invitation has expired", timeout=30_000)
    shot(page, "token-expired-phone")
    page.locator("#banner").get_by_role("button", name="Leave").click()
    expect(page.locator("#join-message")).to_contain_text("Your invitation has expired")


def test_who_may_invite_makes_links(server: Server, opened) -> None:
    watched = opened()
    page = watched.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write", "camera", "microphone"])
    asks(page, tokens=True)
    minted = token("ben")
    page.route(
        "**/api/tokens",
        lambda route: route.fulfill(
            status=201, json={"token": minted, "url": "", "expires_at": "2030-01-01T12:00:00Z"}
        ),
    )
    page.goto(f"{server.url}/?room=den#token={token(roomAdmin=True)}")
    page.get_by_role("button", name="Join", exact=True).click()
    page.get_by_role("button", name="Invite somebody").click(timeout=30_000)
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Whom").fill("ben!")
    dialog.get_by_role("button", name="Copy an invitation link").click()
    expect(dialog.get_by_role("status")).to_contain_text("not “!”")
    dialog.get_by_label("Whom").fill("ben")
    dialog.get_by_role("button", name="Copy an invitation link").click()
    link = dialog.get_by_label("The invitation link")
    expect(link).to_have_value(f"{server.url}/?room=den#token={minted}")
    expect(dialog.get_by_role("status")).to_contain_text("lets in ben until")
    (asked,) = watched.sent("/api/tokens")
    assert asked.post_data_json == {"room": "den", "name": "ben", "publish": True, "watch": True, "minutes": 60}
    shot(page, "invite")
    watched.assert_clean()

    page.goto("about:blank")
    page.goto(f"{server.url}/?room=den#token={token()}")
    page.get_by_role("button", name="Join", exact=True).click()
    page.get_by_role("button", name="Invite somebody").click(timeout=30_000)
    expect(page.get_by_role("dialog")).to_contain_text("Ask whoever invited you")
    shot(page, "invite-not")


def test_the_dashboard_takes_the_invitation_too(server: Server, opened) -> None:
    watched = opened()
    page = watched.page
    invited = token()
    page.goto(f"{server.url}/dashboard#token={invited}")
    expect(page.locator("#live")).to_have_text("Live", timeout=15_000)
    assert page.evaluate("() => location.href") == f"{server.url}/dashboard"
    until(
        lambda: (
            {one.url.removeprefix(server.url) for one in watched.sent("/api/")} >= {"/api/stats", "/api/stats/events"}
        ),
        15,
        "no figures",
    )
    assert all(one.headers.get("authorization") == f"Bearer {invited}" for one in watched.sent("/api/"))
    watched.assert_clean()

    refuses(page, "**/api/stats/events", 401, "The token has expired.")
    page.reload()
    expect(page.locator("#live")).to_contain_text("Your invitation has expired")


def test_another_invitation_in_the_same_tab_counts(server: Server, opened) -> None:
    watched = opened()
    page = watched.page
    page.goto(f"{server.url}/?room=den#token={token('ann')}")
    expect(page.get_by_label("Your name", exact=True)).to_have_value("ann")
    page.goto(f"{server.url}/?room=den#token={token('ben')}")  # the browser itself would load nothing anew
    expect(page.get_by_label("Your name", exact=True)).to_have_value("ben")
    assert page.evaluate("() => location.hash") == ""


def test_who_only_watches_needs_no_camera(server: Server, opened) -> None:
    watched = opened()
    page = watched.page
    asks(page, tokens=True)
    page.goto(f"{server.url}/?room=den#token={token(canPublish=False)}")
    expect(page.get_by_role("button", name="Turn on camera")).to_be_hidden()
    shot(page, "lobby-watching")
    page.get_by_role("button", name="Join", exact=True).click()
    expect(page.get_by_role("button", name="Leave the call")).to_be_visible()
    expect(page.get_by_role("button", name="Turn the camera off")).to_have_count(0)
    expect(page.get_by_text("Nobody is here yet")).to_be_visible()
    shot(page, "call-watching")
    assert watched.asked == []
    assert not watched.sent("/whip/")
    watched.assert_clean()
