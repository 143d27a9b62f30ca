import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Banner } from "../src/banner";

const text = { textContent: "" };
const button = { textContent: "", hidden: true, onclick: (): void => undefined };
const element = { children: [text, button], hidden: true };
const shown = (): string | null => (element.hidden ? null : text.textContent);
let banner: Banner;

beforeEach(() => {
  vi.stubGlobal("document", { getElementById: () => element });
  banner = new Banner();
});
afterEach(() => vi.unstubAllGlobals());

describe("Banner", () => {
  it("comes back to what still holds once something newer is over", () => {
    const again = vi.fn();
    banner.say("publish", "Too large.", "Try again", again);
    banner.say("feed", "No answer.");
    expect([shown(), button.hidden]).toEqual(["No answer.", true]);
    banner.unsay("feed");
    expect([shown(), button.textContent]).toEqual(["Too large.", "Try again"]);
    button.onclick();
    expect(again).toHaveBeenCalledOnce();
    expect(shown()).toBeNull();
  });

  it("mentions only where nothing else is told", () => {
    banner.mention("photos", "Photos are not used.");
    banner.mention("frames", "Frames are left out.");
    expect(shown()).toBe("Photos are not used.");
    banner.unsay("frames");
    expect(shown()).toBe("Photos are not used.");
  });

  it("tells of nothing else once one is not let in", () => {
    banner.say("refused", "The token has expired.", "Leave");
    banner.say("publish", "Joining again…");
    expect(shown()).toBe("The token has expired.");
    banner.clear();
    expect(shown()).toBeNull();
  });
});
