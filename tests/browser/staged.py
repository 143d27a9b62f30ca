"""A call page of which the test tells the whole state: who is there, what the relay says of them and what it knows.

Nothing leaves the page: fetch is answered in it. Pictures never come, so that a stage of many people costs nothing.
"""

from __future__ import annotations

import json

from playwright.sync_api import BrowserContext, Page

CALL = "/?room=den&name=ann&autojoin=1"

# Answers what the page asks for, from window.staged: {people: {name: statistics}, exemplars: number}.
_ANSWERS = """
  (() => {
    const real = window.fetch.bind(window);
    const json = (value) => new Response(JSON.stringify(value), { headers: { 'Content-Type': 'application/json' } });
    const face = () => {
      const canvas = Object.assign(document.createElement('canvas'), { width: 96, height: 96 });
      const context = canvas.getContext('2d');
      context.fillStyle = '#a5806a';
      context.fillRect(0, 0, 96, 96);
      return canvas.toDataURL('image/jpeg');
    };
    const bank = (participant) => {
      const { exemplars } = window.staged, thumbnail = face();
      const person = (id, count) => ({
        id, name: null, state: id === 1 ? 'here' : 'away', since_seconds: 60, seen_seconds_ago: 1, exemplars: count,
      });
      const people = [[1, Math.min(exemplars, 13)], [2, Math.max(0, exemplars - 13)]].filter(([, count]) => count);
      return {
        participant,
        people: people.map(([id, count]) => person(id, count)),
        faces: [{ person: 1, verdict: 'new', side: 60, exemplars: Math.min(3, exemplars), reason: null }],
        exemplars: people.flatMap(([id, count]) => Array.from({ length: count }, (_, at) => ({
          id: `${id}-${at}`, person: id, source: at % 3 ? 'call' : 'photo', age_frames: 9, age_seconds: 9, sharpness: 1,
          yaw: 4, native_px: 150, thumbnail,
        }))),
      };
    };
    const events = () => new Response(new ReadableStream({
      start(controller) {
        const send = (name, data) =>
          controller.enqueue(new TextEncoder().encode(`event: ${name}\\ndata: ${JSON.stringify(data)}\\n\\n`));
        for (const participant of Object.keys(window.staged.people)) send('joined', { participant });
        let second = 0;
        const told = ({ outcome, ...one }) => ({ ...one, outcomes: { [outcome]: 20 * ++second } });
        const tell = () => {
          const people = Object.entries(window.staged.people).map(([name, one]) => [name, told(one)]);
          send('stats', { participants: Object.fromEntries(people) });
        };
        tell();
        setInterval(tell, 500);
      },
    }), { headers: { 'Content-Type': 'text/event-stream' } });
    window.fetch = async (input, init = {}) => {
      const { pathname } = new URL(input, location.href);
      if (pathname === '/api/access') return json({ tokens: false, open_to_all: !!window.staged.open });
      if (pathname.endsWith('/events')) return events();
      if (pathname.endsWith('/bank')) return json(bank(pathname.split('/')[4]));
      if (/^\\/whe?i?p\\//.test(pathname)) return new Promise(() => {});
      return real(input, init);
    };
  })();
"""


def statistics(
    reason: str | None = None, exemplars: int = 3, face: bool = True, outcome: str = "enhanced", **more: object
) -> dict[str, object]:
    """What the relay tells of one participant each second. outcome: what every frame of the test comes to."""
    told = {"fps_in": 20.0, "fps_out": 20.0, "state": "live", "outcome": outcome, "latency_ms": 45.0, **more}
    return told | ({"face": {"exemplars": exemplars, "reason": reason}} if face else {})


def stage(people: dict[str, dict[str, object]], exemplars: int = 3, open_to_all: bool = False) -> str:
    """The script that a page is to run before its own."""
    state = {"people": people, "exemplars": exemplars, "open": open_to_all}
    return f"window.staged = {json.dumps(state)};{_ANSWERS}"


def staged(
    context: BrowserContext,
    url: str,
    people: dict[str, dict[str, object]],
    exemplars: int = 3,
    open_to_all: bool = False,
) -> Page:
    """The page in the call of room `den` as ann."""
    context.grant_permissions(["camera", "microphone"])
    page = context.new_page()
    page.add_init_script(stage(people, exemplars, open_to_all))
    page.goto(url + CALL)
    page.locator("#join").click()
    page.locator("#call").wait_for()
    return page
