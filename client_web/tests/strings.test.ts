import { describe, expect, it } from "vitest";
import dashboard from "../dashboard.html?raw";
import html from "../index.html?raw";
import { panelOf } from "../src/dashboard/panels";
import { COUNTED, STAGES, type Counts } from "../src/dashboard/stats";
import { preferred } from "../src/strings";
import { de } from "../src/strings/de";
import { en } from "../src/strings/en";
import { es } from "../src/strings/es";

/** Every string, those that are made of something with stand-ins for it, by its place. */
function words(node: object, place = ""): [string, string][] {
  return Object.entries(node).flatMap(([key, value]: [string, unknown]) => {
    const at = place ? `${place}.${key}` : key;
    if (typeof value === "string") return [[at, value] as [string, string]];
    if (typeof value === "function") return [[at, String(value(7, 5, 3))] as [string, string]];
    return words(value as object, at);
  });
}

describe("languages", () => {
  it.each([
    ["de", de],
    ["es", es],
  ])("%s says all that English says, with the same figures in it", (_, other) => {
    const theirs = new Map(words(other));
    const english = words(en);
    expect([...theirs.keys()].sort()).toEqual(english.map(([place]) => place).sort());
    for (const [place, text] of english) {
      expect(theirs.get(place)?.trim(), place).toBeTruthy();
      for (const figures of [/\d+/g, /\{\w+\}/g]) {
        expect(theirs.get(place)!.match(figures)?.sort(), place).toEqual(text.match(figures)?.sort());
      }
    }
  });
  it("are chosen by the user, then by the browser", () => {
    expect(preferred(null, ["fr-CH", "de-CH", "en"])).toBe("de");
    expect(preferred("es", ["de"])).toBe("es");
    expect(preferred("xx", ["fr"])).toBe("en");
  });
  it("have a word for each place in the pages", () => {
    const places = (page: string): string[] => [...page.matchAll(/data-t(?:-label)?="([\w.]+)"/g)].map(([, place]) => place!);
    const known = (all: object): Set<string> => new Set(words(all).map(([place]) => place));
    expect(places(html).length).toBeGreaterThan(15);
    expect(places(html).filter((place) => !known(en.page).has(place))).toEqual([]);
    expect(places(dashboard).length).toBeGreaterThan(30);
    expect(places(dashboard).filter((place) => !known(en.dashboard).has(place))).toEqual([]);
  });
  it("have words for all that the dashboard counts", () => {
    for (const [group, names] of Object.entries(COUNTED)) {
      expect(Object.keys(en.dashboard.counted[group as Counts]).sort()).toEqual([...names].sort());
    }
    expect(Object.keys(en.dashboard.stages.of)).toEqual([...STAGES]);
  });
  it("say of the dashboard's panels in English what Grafana says of them", () => {
    for (const [id, told] of Object.entries(en.dashboard.panels)) expect(panelOf(id)).toMatchObject(told);
  });
});
