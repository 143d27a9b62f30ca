"""Two people in a call: what one does is told to the other, and nobody's coming or going is complained of."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server, launch, open_context, shot, until
from tests.browser.watched import PHONE, Watched, asks

ROOM = "together"
# A tab that counts, which is what is shared. Chromium's picker chooses it by its title, with nobody to do it.
SLIDES = """
  <title>Slides of the test</title>
  <body style="margin: 0; background: #2040c0; color: #fff; font: 120px sans-serif">
    <p id="slide" style="padding: 200px">Slide</p>
    <script>let count = 0; setInterval(() => { slide.textContent = `Slide ${++count}`; }, 100);</script>
"""
PICKED = "--auto-select-tab-capture-source-by-title=Slides of the test"
# Pictures that were shown of ann.
FRAMES = "() => document.querySelector('.tile[data-name=ann] video').getVideoPlaybackQuality().totalVideoFrames"
# Red, green and blue in the middle of the upper edge of the picture that is shown of somebody.
COLOUR = """
  (name) => {
    const video = document.querySelector(`.tile[data-name=${name}] video`);
    if (!video?.videoWidth) return null;
    const canvas = Object.assign(document.createElement('canvas'), { width: 16, height: 9 });
    const context = canvas.getContext('2d');
    context.drawImage(video, 0, 0, 16, 9);
    return [...context.getImageData(8, 0, 1, 1).data].slice(0, 3);
  }
"""


@pytest.fixture(scope="module")
def pair(playwright: object, server: Server, recordings: tuple[object, object]) -> Iterator[tuple[Watched, Watched]]:
    """ann, whose microphone hears a voice, and ben on a phone; each in a browser of its own, as Chromium has one
    microphone."""
    loud = launch(
        playwright,  # type: ignore[arg-type]
        "--use-fake-device-for-media-stream=device-count=4,fps=10",
        f"--use-file-for-fake-audio-capture={recordings[1]}",
        PICKED,
        allow_all=False,  # or nothing is picked: there is no picker then
    )
    quiet = launch(playwright, "--use-fake-device-for-media-stream=fps=5")  # type: ignore[arg-type]
    contexts = [open_context(loud, quality="low"), open_context(quiet, *PHONE, quality="low")]
    people = []
    for name, context in zip(("ann", "ben"), contexts, strict=True):
        watched = Watched(context)
        asks(watched.page)
        watched.page.goto(f"{server.url}/?room={ROOM}&name={name}&autojoin=1")
        watched.page.get_by_role("button", name=f"Join {ROOM} as {name}").click()
        expect(watched.page.locator(".tile video").first).to_be_visible(timeout=60_000)
        people.append(watched)
    yield people[0], people[1]
    loud.close()
    quiet.close()


def colour(page: Page, name: str) -> Callable[[], list[int] | None]:
    return lambda: page.evaluate(COLOUR, name)


def test_nothing_is_complained_of_when_a_second_one_joins(pair: tuple[Watched, Watched]) -> None:
    ann, ben = pair
    expect(ann.page.locator(".tile[data-name=ben] video")).to_be_visible(timeout=60_000)
    expect(ben.page.locator(".tile[data-name=ann] video")).to_be_visible(timeout=60_000)
    ann.page.wait_for_timeout(1500)
    ann.assert_clean()
    ben.assert_clean()


def test_who_speaks_is_shown(pair: tuple[Watched, Watched]) -> None:
    _, ben = pair
    expect(ben.page.locator(".tile[data-name=ann].speaking")).to_have_count(1, timeout=20_000)
    shot(ben.page, "together-speaks")


def test_a_microphone_that_is_off_is_told(pair: tuple[Watched, Watched]) -> None:
    ann, ben = pair
    silent = ben.page.get_by_role("img", name="The microphone of ann is off or silent")
    expect(silent).to_be_hidden()
    ann.page.keyboard.press("m")
    expect(silent).to_be_visible(timeout=15_000)
    expect(ben.page.locator(".tile[data-name=ann].speaking")).to_have_count(0)
    ann.page.keyboard.press("m")
    expect(silent).to_be_hidden(timeout=15_000)


def test_a_camera_that_is_off_is_told(pair: tuple[Watched, Watched]) -> None:
    ann, ben = pair
    tile = ben.page.locator(".tile[data-name=ann]")
    ann.page.keyboard.press("c")
    expect(tile.locator(".badge")).to_have_text("The camera is off", timeout=20_000)
    expect(tile.locator(".cover")).to_have_text("A")
    shot(ben.page, "together-camera-off")
    ann.page.keyboard.press("c")
    expect(tile.locator(".cover")).to_be_hidden(timeout=20_000)


def test_a_screen_is_shared_untouched(pair: tuple[Watched, Watched]) -> None:
    ann, ben = pair
    tile = ben.page.locator(".tile[data-name=ann]")
    slides = ann.page.context.new_page()
    slides.set_content(SLIDES)
    ann.page.bring_to_front()
    share = ann.page.get_by_role("button", name="Share your screen")
    share.click()
    expect(tile.locator(".badge")).to_have_text("A screen, passed on untouched", timeout=30_000)
    until(lambda: (seen := colour(ben.page, "ann")()) and seen[2] > 150 > 90 > seen[0], 30, "the screen is not seen")
    shot(ben.page, "together-screen-phone")
    shot(ann.page, "together-screen-laptop")
    slides.close()
    expect(share).to_be_visible(timeout=20_000)  # what was shared is gone
    expect(tile.locator(".badge")).not_to_have_text("A screen, passed on untouched", timeout=30_000)
    until(lambda: (seen := colour(ben.page, "ann")()) and seen[2] < 150, 30, "the camera is not seen again")


def test_another_camera_takes_over_without_a_gap(pair: tuple[Watched, Watched]) -> None:
    ann, ben = pair
    connections = "() => window.testConnections.length"
    before = ann.page.evaluate(connections)
    ann.page.get_by_role("button", name="More: ").click()
    ann.page.get_by_role("button", name="Devices, picture size").click()
    dialog = ann.page.get_by_role("dialog", name="Devices")
    camera = dialog.get_by_label("Camera", exact=True)
    used = camera.input_value()
    camera.select_option(index=3)  # those between give pictures of depth and JPEGs
    assert camera.input_value() != used
    dialog.get_by_role("button", name="Close").click()
    # what is sent now comes from the other one
    sent = """
      () => window.testConnections.flatMap((one) => one.getSenders()).map(({ track }) => track)
        .find((track) => track?.kind === 'video' && track.readyState === 'live').getSettings().deviceId
    """
    until(lambda: ann.page.evaluate(sent) != used, 10, "the other camera is not sent")
    moment = ben.page.evaluate(FRAMES)
    until(lambda: ben.page.evaluate(FRAMES) > moment + 10, 30, "the picture stands still")
    assert ann.page.evaluate(connections) == before, "the connection was made anew"


def test_the_sound_goes_to_the_chosen_loudspeaker(pair: tuple[Watched, Watched]) -> None:
    ann, _ = pair
    heard = "() => document.querySelector('.tile video:not([muted])').sinkId"
    assert ann.page.evaluate(heard) == ""
    ann.page.get_by_role("button", name="More: ").click()
    ann.page.get_by_role("button", name="Devices, picture size").click()
    dialog = ann.page.get_by_role("dialog", name="Devices")
    chosen = dialog.get_by_label("Loudspeaker")
    chosen.select_option(label="Fake Audio Output 2")
    until(lambda: ann.page.evaluate(heard) == chosen.input_value(), 10, "it is heard elsewhere")
    dialog.get_by_role("button", name="Close").click()


def test_a_tab_in_the_background_stays_in_the_call(pair: tuple[Watched, Watched]) -> None:
    ann, ben = pair
    other = ann.page.context.new_page()
    other.bring_to_front()
    before = ben.page.evaluate(FRAMES)
    until(lambda: ben.page.evaluate(FRAMES) > before + 20, 30, "the picture stands still")
    other.close()
    expect(ann.page.locator("#banner")).to_be_hidden()
    expect(ann.page.locator(".tile[data-name=ben] video")).to_be_visible()


def test_nothing_is_complained_of_when_one_leaves(pair: tuple[Watched, Watched]) -> None:
    ann, ben = pair
    ben.page.keyboard.press("l")
    expect(ben.page.locator("#lobby")).to_be_visible()
    expect(ann.page.locator(".tile[data-name=ben]")).to_have_count(0, timeout=15_000)
    expect(ann.page.locator(".tile[data-name=ann] video")).to_be_visible(timeout=30_000)
    ann.page.wait_for_timeout(1500)
    ann.assert_clean()
    ben.assert_clean()
