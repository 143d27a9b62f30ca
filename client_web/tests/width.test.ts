import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { SETTLED_MS, WidthFollower, askedWidth, nextWidth, widthClass } from "../src/width";

describe("width classes", () => {
  it.each([
    [1, 640],
    [640, 640],
    [640.5, 960],
    [1281, 1600],
    [1920, 1920],
    [5000, 1920],
  ])("shows %d pixels by the class %d", (pixels, width) => expect(widthClass(pixels)).toBe(width));

  it("asks for nothing that would not change the picture", () => {
    expect(askedWidth("enhanced", "upscale", 1920)).toBe(1920);
    expect(askedWidth("original", "zoom", 1600)).toBe(1600);
    expect(askedWidth("compare", "upscale", 1920)).toBe(1280);
    expect(askedWidth("compare", "zoom", 640)).toBe(640);
    expect(askedWidth("enhanced", "native", 1920)).toBeNull();
  });

  it("grows only where the picture would blur", () => {
    expect(nextWidth(960, 961)).toBe(960);
    expect(nextWidth(960, 1056)).toBe(960);
    expect(nextWidth(960, 1060)).toBe(1280);
    expect(nextWidth(640, 3840)).toBe(1920);
    expect(nextWidth(1920, 3840)).toBe(1920);
  });

  it("shrinks by two classes or not at all", () => {
    expect(nextWidth(1280, 961)).toBe(1280);
    expect(nextWidth(1280, 641)).toBe(1280);
    expect(nextWidth(1280, 640)).toBe(640);
    expect(nextWidth(1920, 1300)).toBe(1920);
    expect(nextWidth(1920, 1200)).toBe(1280);
    expect(nextWidth(640, 10)).toBe(640);
  });
});

describe("WidthFollower", () => {
  let asked: number[];
  let follower: WidthFollower;

  beforeEach(() => {
    vi.useFakeTimers();
    asked = [];
    follower = new WidthFollower((width) => asked.push(width));
  });
  afterEach(() => {
    follower.stop();
    vi.useRealTimers();
  });

  it("takes the first size at once, and none that is nothing", () => {
    follower.measured(0);
    expect(asked).toEqual([]);
    follower.measured(700);
    expect(asked).toEqual([960]);
  });

  it("follows a size that lasts", () => {
    follower.measured(700);
    follower.measured(1500);
    vi.advanceTimersByTime(SETTLED_MS - 1);
    follower.measured(1510); // the same class: the time goes on
    expect(asked).toEqual([960]);
    vi.advanceTimersByTime(1);
    expect(asked).toEqual([960, 1600]);
    vi.advanceTimersByTime(10 * SETTLED_MS);
    expect(asked).toEqual([960, 1600]);
  });

  it("asks once for a window that is being drawn larger", () => {
    follower.measured(600);
    for (let pixels = 600; pixels <= 1900; pixels += 10) {
      follower.measured(pixels);
      vi.advanceTimersByTime(50); // 6.5 s in all, less than SETTLED_MS in any class
    }
    expect(asked).toEqual([640]);
    vi.advanceTimersByTime(SETTLED_MS);
    expect(asked).toEqual([640, 1920]);
  });

  it("does not ask for a size that was there for a moment", () => {
    follower.measured(900);
    follower.measured(1900);
    vi.advanceTimersByTime(SETTLED_MS / 2);
    follower.measured(900);
    vi.advanceTimersByTime(SETTLED_MS / 2);
    follower.measured(1900);
    vi.advanceTimersByTime(SETTLED_MS / 2);
    follower.measured(0); // hidden: nothing is known
    follower.measured(900);
    vi.advanceTimersByTime(10 * SETTLED_MS);
    expect(asked).toEqual([960]);
  });

  it("rests while a size trembles about a limit", () => {
    follower.measured(955);
    for (let turn = 0; turn < 20; turn++) {
      follower.measured(turn % 2 ? 955 : 1000);
      vi.advanceTimersByTime(2 * SETTLED_MS);
    }
    expect(asked).toEqual([960]);
  });

  it("goes back only for much less", () => {
    follower.measured(1900);
    follower.measured(1300);
    vi.advanceTimersByTime(10 * SETTLED_MS);
    expect(asked).toEqual([1920]);
    follower.measured(600);
    vi.advanceTimersByTime(SETTLED_MS);
    expect(asked).toEqual([1920, 640]);
  });

  it("takes what fits where a connection is made anyway", () => {
    follower.measured(1900);
    follower.measured(1200);
    follower.again(1200);
    follower.again(0); // hidden: nothing is known
    vi.advanceTimersByTime(10 * SETTLED_MS);
    expect(asked).toEqual([1920, 1280]);
  });

  it("asks for nothing once it is stopped", () => {
    follower.measured(600);
    follower.measured(1900);
    follower.stop();
    vi.advanceTimersByTime(10 * SETTLED_MS);
    expect(asked).toEqual([640]);
  });
});
