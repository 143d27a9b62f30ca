import { expect, test } from "vitest";
import { linkedView, readWatchLink, watchEntry } from "../src/show/watching";

test("a link to watch by names a room", () => {
  const room = (search: string): string | null => readWatchLink(new URLSearchParams(search));
  expect(room("room=demo&watch=1&view=compare")).toBe("demo");
  expect(room("room=demo")).toBeNull();
  expect(room("watch=1")).toBeNull();
  expect(room("room=a%20b&watch=1")).toBeNull();
});

test("a link may say what is shown first", () => {
  expect(linkedView("?room=demo&watch=1&view=compare")).toBe("compare");
  expect(linkedView("?room=demo&watch=1&view=sides")).toBe("sides");
  expect(linkedView("?view=sideways")).toBe("enhanced");
  expect(linkedView("")).toBe("enhanced");
});

test("who just watches sends nothing, under no name", () => {
  expect(watchEntry("demo")).toMatchObject({ room: "demo", name: "", stream: null });
});
