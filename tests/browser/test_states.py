"""Every state of the call page, on a laptop and on a phone: what it says, and nothing serious by axe in any of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import REMEMBER_CONNECTIONS, Server, shot, until
from tests.browser.staged import staged, statistics

LAPTOP, PHONE = (1280, 800), (390, 844)
SIZES = pytest.mark.parametrize("size", [LAPTOP, PHONE], ids=["laptop", "phone"])
PEOPLE = {
    "ann": statistics(),
    "ben": statistics(exemplars=3),
    "cleo": statistics("no_exemplar", exemplars=0, outcome="passed"),
    "dan": statistics("close", exemplars=0, outcome="passed"),
    "eve": statistics(outcome="passed"),
    "finn": statistics(face=False, outcome="passed", content="screen"),
    "gil": statistics(face=False, outcome="passed"),
}
Opened = Callable[..., Page]


@pytest.fixture
def call(plain_browser: Browser, server: Server) -> Iterator[Opened]:
    """Opens the staged call, or with no people the lobby."""
    contexts = []

    def open_page(
        size: tuple[int, int] = LAPTOP, people: dict[str, dict[str, object]] | None = PEOPLE, **options: object
    ) -> Page:
        width, height = size
        chosen = {"color_scheme": "dark", "locale": "en-US"} | options
        context = plain_browser.new_context(viewport={"width": width, "height": height}, **chosen)
        context.add_init_script(REMEMBER_CONNECTIONS)
        contexts.append(context)
        if people is not None:
            return staged(context, server.url, people)
        context.grant_permissions(["camera", "microphone"])
        page = context.new_page()
        page.goto(f"{server.url}/?room=den")
        return page

    yield open_page
    for context in contexts:
        context.close()


def name_of(state: str, size: tuple[int, int]) -> str:
    return f"state-{state}-{'phone' if size == PHONE else 'laptop'}"


@SIZES
def test_badges_say_what_happens_and_what_would_help(call: Opened, size: tuple[int, int]) -> None:
    page = call(size)

    def badge(name: str) -> object:
        return page.locator(f".tile[data-name={name}] .badge")

    expect(badge("ben")).to_have_text("Sharpened from 3 views of ben")
    expect(badge("cleo")).to_have_text("Learning this face: coming closer for a moment would help")
    expect(badge("dan")).to_have_text("Clear as it is")
    expect(badge("eve")).to_have_text("Too busy to sharpen")
    expect(badge("finn")).to_have_text("A screen, passed on untouched")
    expect(badge("gil")).to_have_text("No face to sharpen")
    expect(page.locator(".tile[data-name=finn] .segmented")).to_be_hidden()
    page.locator(".tile[data-name=dan]").get_by_role("radio", name="Original").click()
    expect(badge("dan")).to_have_text("The original, nothing sharpened")
    shot(page, name_of("badges", size))


LONG = "a_rather_long_name_of_somebody_who_likes_that_very_much_indeed_"


@pytest.mark.parametrize("locale", ["en-US", "de-CH", "es-MX"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_long_names_leave_room_for_what_happens(call: Opened, locale: str, width: int) -> None:
    """What holds no name itself is read whole; a name is cut at its end; the titles hold both."""
    people = {"ann": statistics()} | {f"{LONG[:-1]}{at}": one for at, one in enumerate(PEOPLE.values()) if at}
    page = call((width, 844), people, locale=locale)
    expect(page.locator(".tile .badge[data-tone=good]").first).to_be_visible(timeout=15_000)
    told = """
      () => [...document.querySelectorAll('.tile')].map((tile) => {
        const [name, badge] = [tile.querySelector('h2'), tile.querySelector('.badge')];
        const { clientHeight, scrollHeight } = badge.firstElementChild;
        return {
          title: name.title === tile.dataset.name && badge.title === badge.textContent,
          shortened: name.scrollWidth > name.clientWidth && name.clientWidth > 60,
          cut: scrollHeight > clientHeight + 1 && !badge.textContent.includes(tile.dataset.name),
          outside: badge.getBoundingClientRect().right > innerWidth,
        };
      })
    """
    page.wait_for_function("() => [...document.querySelectorAll('.tile .badge')].every((badge) => badge.title)")
    for tile in page.evaluate(told):
        assert tile["title"] and not tile["cut"] and not tile["outside"]
        assert tile["shortened"] or width == 1280
    shot(page, f"state-long-names-{locale[:2]}-{width}")


@SIZES
def test_one_sees_what_would_help_oneself(call: Opened, size: tuple[int, int]) -> None:
    page = call(size, {"ann": statistics("no_exemplar", exemplars=0, outcome="passed")})
    expect(page.locator(".tile .badge")).to_have_text("Learning your face: come closer for a moment")
    page.evaluate("(one) => { window.staged.people.ann = one; }", statistics(exemplars=1))
    expect(page.locator(".tile .badge")).to_have_text("Sharpened from 1 view of you")
    shot(page, name_of("alone", size))


@SIZES
def test_less_needed_choices_are_behind_more(call: Opened, size: tuple[int, int]) -> None:
    page = call(size)
    tile = page.locator(".tile[data-name=ben]")
    more = tile.get_by_role("button", name="More for ben")
    more.click()
    expect(tile.get_by_role("radiogroup", name="What is shown")).to_contain_text("nearer to the largest face")
    box = tile.locator(".menu").bounding_box()
    assert box and box["x"] >= 0 and box["x"] + box["width"] <= size[0] and box["y"] >= 0
    shot(page, name_of("more-of-tile", size))
    page.keyboard.press("Escape")
    expect(more).to_be_focused()

    page.get_by_role("button", name="More: your own view").click()
    expect(page.get_by_role("button", name="Show yourself")).to_be_visible()
    shot(page, name_of("more-of-call", size))
    page.get_by_role("button", name="Devices, picture size").click()
    expect(page.get_by_role("dialog", name="Devices").get_by_label("Camera", exact=True)).to_be_visible()
    shot(page, name_of("devices", size))


@SIZES
def test_one_may_be_kept_large(call: Opened, size: tuple[int, int]) -> None:
    page = call(size)
    page.get_by_role("button", name="Show who speaks large").click()
    large = page.locator(".tile.large")
    expect(large).to_have_attribute("data-name", "ben")
    small = page.locator(".tile[data-name=dan]")
    assert large.bounding_box()["width"] > 1.5 * small.bounding_box()["width"]  # type: ignore[index]
    large.get_by_role("button", name="More for ben").click()
    large.get_by_role("button", name="Keep large").click()
    shot(page, name_of("speaker", size))
    assert page.evaluate("() => document.documentElement.scrollWidth") <= size[0]
    page.get_by_role("button", name="Show everybody alike").click()
    expect(page.locator(".tile.small")).to_have_count(0)


def test_keys_do_what_buttons_do(call: Opened) -> None:
    page = call()
    tile = page.locator(".tile[data-name=ben]")
    page.keyboard.press("m")
    expect(page.get_by_role("button", name="Turn the mic on")).to_be_visible()
    page.keyboard.press("c")
    expect(page.get_by_role("button", name="Turn the camera on")).to_be_visible()
    page.keyboard.press("v")
    expect(tile.get_by_role("radio", checked=True).first).to_have_text("Original")
    page.keyboard.press("s")
    expect(page.locator(".tile.large")).to_have_count(1)
    page.keyboard.press("f")
    page.wait_for_function("() => document.fullscreenElement?.matches('.large .stage')")
    page.keyboard.press("f")
    page.wait_for_function("() => !document.fullscreenElement")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_contain_text("Full screen")
    shot(page, "state-shortcuts-laptop")
    page.keyboard.press("l")  # is not meant for what lies under the dialog
    expect(page.locator("#call")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.keyboard.press("Control+l")
    expect(page.locator("#call")).to_be_visible()
    page.keyboard.press("l")
    expect(page.locator("#lobby")).to_be_visible()


@SIZES
@pytest.mark.parametrize("look", ["light", "dark"])
def test_the_lobby_in_light_and_dark(call: Opened, size: tuple[int, int], look: str) -> None:
    page = call(size, None, color_scheme=look)
    shot(page, name_of(f"lobby-{look}", size), full_page=True)
    page.get_by_role("button", name="Turn on camera").click()
    expect(page.get_by_label("Camera", exact=True)).to_be_visible()
    shot(page, name_of(f"lobby-camera-{look}", size), full_page=True)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= size[0]
    background = "() => getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(background)
    page.get_by_label("Look").select_option(label="Dark" if look == "light" else "Light")
    assert page.evaluate(background) != before
    page.reload()
    assert page.evaluate(background) != before, "the choice is not kept"


@SIZES
def test_the_call_in_light(call: Opened, size: tuple[int, int]) -> None:
    page = call(size, color_scheme="light")
    expect(page.locator(".tile[data-name=ben] .badge")).to_contain_text("Sharpened")
    shot(page, name_of("call-light", size))


def test_targets_are_large_enough(call: Opened) -> None:
    """44 by 44 pixels, but for links within a text's line and a choice's segments, which are as high."""
    page = call(PHONE)
    small = """
      () => [...document.querySelectorAll('button, select, a, input:not([type=radio], [type=checkbox])')]
        .filter((one) => one.checkVisibility() && !one.matches('.link, .links a'))
        .map((one) => [one, one.closest('.segmented')?.getBoundingClientRect() ?? one.getBoundingClientRect()])
        .filter(([, box]) => box.height < 44 || box.width < 44)
        .map(([one]) => one.outerHTML)
    """
    assert page.evaluate(small) == []
    page.get_by_role("button", name="More for ben").click()
    assert page.evaluate(small) == []
    lobby = call(PHONE, None)
    assert lobby.evaluate(small) == []


def test_less_motion_where_it_is_asked_for(call: Opened) -> None:
    page = call(LAPTOP, None, reduced_motion="reduce")
    assert page.evaluate("() => getComputedStyle(document.querySelector('#join')).transitionDuration") == "0s"


@pytest.mark.parametrize(
    ("locale", "join", "leave"), [("de-CH", "Teilnehmen", "Verlassen"), ("es-MX", "Entrar", "Salir")]
)
def test_the_page_speaks_the_users_language(call: Opened, locale: str, join: str, leave: str) -> None:
    page = call(PHONE, None, locale=locale)
    expect(page.locator("#join")).to_have_text(join)
    assert page.evaluate("() => document.documentElement.lang") == locale[:2]
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    shot(page, f"state-lobby-{locale[:2]}-phone", full_page=True)
    page.locator("#language").select_option("en")
    expect(page.locator("#join")).to_have_text("Join")
    page.locator("#language").select_option(locale[:2])
    page.locator("#name").fill("ann")
    page.evaluate("() => localStorage.setItem('hime.arrangement', 'grid')")
    page.locator("#join").click()
    expect(page.locator(".control.leave")).to_contain_text(leave, timeout=30_000)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    until(lambda: page.locator(".tile .badge").count(), 30, "the call is not joined")
    shot(page, f"state-call-{locale[:2]}-phone")


@pytest.mark.parametrize(
    ("locale", "words"),
    [("en-US", "The room is full."), ("de-CH", "Der Raum ist voll."), ("es-MX", "La sala está llena.")],
)
def test_refusals_are_told_in_the_users_language(call: Opened, locale: str, words: str) -> None:
    page = call(PHONE, None, locale=locale)
    body = {
        "type": "/problems/room-full",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "As told in English.",
    }
    page.route(
        "**/whip/**",
        lambda route: route.fulfill(status=503, content_type="application/problem+json", json=body),
    )
    page.locator("#name").fill("ann")
    page.locator("#join").click()
    expect(page.locator("#banner")).to_contain_text(words, timeout=30_000)
    shot(page, f"state-refused-{locale[:2]}-phone")


SOUNDS = """() => {
  window.notes = 0;
  window.sinks = [];
  const start = OscillatorNode.prototype.start, play = HTMLMediaElement.prototype.play;
  OscillatorNode.prototype.start = function (...given) { window.notes += 1; return start.apply(this, given); };
  HTMLMediaElement.prototype.play = function () {
    if (this instanceof HTMLAudioElement) window.sinks.push(this.sinkId);
    return play.apply(this);
  };
}"""


@SIZES
def test_speakers_are_chosen_and_tested_before_the_call(call: Opened, size: tuple[int, int]) -> None:
    page = call(size, None)
    page.evaluate(SOUNDS)
    test, chosen = page.get_by_role("button", name="Test your speakers"), page.get_by_label("Loudspeaker")
    expect(chosen).to_have_count(0)  # a browser tells its devices only to whom it lets hear
    test.click()
    page.wait_for_function("() => window.notes === 2")
    page.get_by_role("button", name="Turn on camera").click()
    chosen.select_option(label="Fake Audio Output 1", timeout=30_000)
    test.click()
    page.wait_for_function("() => window.notes === 4")
    assert page.evaluate("() => window.sinks") == ["", chosen.input_value()]
    shot(page, name_of("loudspeaker", size), full_page=True)
    page.reload()
    page.get_by_role("button", name="Turn on camera").click()
    expect(chosen.locator("option:checked")).to_have_text("Fake Audio Output 1", timeout=30_000)


def test_a_browser_without_a_choice_of_speakers_offers_none(call: Opened) -> None:
    page = call(LAPTOP, None)
    page.add_init_script("delete HTMLMediaElement.prototype.setSinkId")
    page.reload()
    page.get_by_role("button", name="Turn on camera").click()
    expect(page.get_by_label("Camera", exact=True)).to_be_visible(timeout=30_000)
    expect(page.get_by_label("Loudspeaker")).to_have_count(0)
    page.evaluate(SOUNDS)
    page.get_by_role("button", name="Test your speakers").click()
    page.wait_for_function("() => window.notes === 2")


@SIZES
def test_your_face(call: Opened, size: tuple[int, int]) -> None:
    """What the relay holds is told before anything can be added; a photo waits for the consent."""
    page = call(size)
    page.get_by_role("button", name="Your face").click()
    dialog = page.get_by_role("dialog", name="Your face")
    expect(dialog).to_contain_text("2 views of this call")
    expect(dialog.get_by_role("img", name="A view of this call")).to_have_count(2)
    shot(page, name_of("face", size))
    dialog.get_by_role("button", name="Take a photo").click()
    expect(dialog.get_by_role("status")).to_contain_text("only with your consent")
    expect(dialog.get_by_label(re.compile("These photos show me"))).to_be_focused()
    shot(page, name_of("face-consent", size))
