import { adviceOn, foundInWords, WAY } from "./advice";
import { el } from "./dom";
import { inWords } from "./http";
import { iceServersFor } from "./ice";
import { icon, type IconName } from "./icons";
import { isName } from "./names";
import { tryWay, waysBy, type Tried, type Way } from "./ways";

type State = "running" | "works" | "fails";
const ICONS: Record<State, IconName> = { running: "waiting", works: "tick", fails: "close" };
const SPOKEN: Record<State, string> = { running: "is tried", works: "works", fails: "does not work" };

/** The dialog that tries the ways from this browser to the relay, and says what to change. */
export class CheckDialog {
  readonly element = el("dialog", { class: "panel", "aria-labelledby": "check-title" });
  private readonly verdict = el("p", { class: "verdict", role: "status" });
  private readonly rows = el("ul", { class: "ways" });
  private readonly found = el("p", { class: "hint" });
  private readonly hints = el("ul", { class: "hints" });
  private readonly again = el("button", { type: "button", class: "primary" }, ["Test again"]);
  private room = "";
  /** Counts the tests: one that was left behind shows nothing. */
  private run = 0;

  constructor() {
    const close = el("button", { type: "button", class: "plain", "aria-label": "Close" }, [icon("close")]);
    close.addEventListener("click", () => this.element.close());
    this.element.addEventListener("close", () => (this.run += 1));
    this.again.addEventListener("click", () => void this.test());
    this.element.append(
      el("header", {}, [el("h2", { id: "check-title" }, ["Test the connection"]), close]),
      this.verdict,
      this.hints,
      this.rows,
      this.found,
      this.again,
    );
  }

  /** room: the one to be called in; the test enters none. */
  open(room: string): void {
    this.room = isName(room) ? room : "test";
    this.element.showModal();
    void this.test();
  }

  private async test(): Promise<void> {
    const run = ++this.run;
    const endpoint = `/api/rooms/${this.room}/check`;
    this.again.disabled = true;
    this.say("Trying the ways to the relay. This takes a few seconds…", "running");
    this.hints.replaceChildren();
    this.rows.replaceChildren();
    this.found.textContent = "";
    try {
      const ways = waysBy(await iceServersFor(endpoint));
      const tried = await Promise.all(
        ways.map(async ({ way, servers }) => {
          const row = el("li");
          if (run === this.run) this.rows.append(row);
          show(row, way, "running");
          const result = await tryWay(way, servers, endpoint).catch((error: unknown) => {
            show(row, way, "fails");
            throw error;
          });
          show(row, way, result.connected ? "works" : "fails", result);
          return result;
        }),
      );
      if (run !== this.run) return;
      const advice = adviceOn(tried);
      this.say(advice.words, advice.verdict);
      this.hints.replaceChildren(...advice.hints.map((hint) => el("li", {}, [hint])));
      this.found.textContent = foundInWords(tried);
    } catch (error) {
      if (run === this.run) this.say(inWords(error), "bad");
    } finally {
      if (run === this.run) this.again.disabled = false;
    }
  }

  private say(words: string, verdict: string): void {
    this.verdict.textContent = words;
    this.verdict.dataset.verdict = verdict;
  }
}

function show(row: HTMLElement, { kind, server }: Way, state: State, tried?: Tried): void {
  const roundTrip = tried?.roundTripMs ?? null;
  const figure = roundTrip === null ? "" : `${Math.max(1, Math.round(roundTrip))} ms`;
  row.dataset.state = state;
  row.replaceChildren(
    icon(ICONS[state]),
    el("span", {}, [WAY[kind], ...(server ? [el("small", {}, [server])] : [])]),
    el("span", { class: "figure" }, [figure || (state === "running" ? "" : SPOKEN[state])]),
  );
}
