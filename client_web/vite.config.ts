import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";
import { panels } from "./src/dashboard/panels.json";

const SERVER = "http://localhost:8080";

/** Writes the panels' words into dashboard.html, so that nothing moves once its script runs. */
const panelWords: Plugin = {
  name: "panel-words",
  transformIndexHtml: (html) =>
    html.replace(/%panel\.(\w+)\.(title|note)%/g, (_, id: string, what: "title" | "note") => {
      const words = panels.find((panel) => panel.id === id)?.[what];
      if (words === undefined) throw new Error(`panels.json has no ${what} of ${id}`);
      return words;
    }),
};

export default defineConfig({
  plugins: [panelWords],
  build: {
    target: "es2022",
    modulePreload: { polyfill: false },
    rollupOptions: { input: { index: "index.html", dashboard: "dashboard.html" } },
  },
  server: {
    proxy: {
      "/whip": SERVER,
      "/whep": SERVER,
      "/api": SERVER,
      // the relay serves dashboard.html at /dashboard; the dev server does the same
      "^/dashboard$": { target: SERVER, bypass: () => "/dashboard.html" },
    },
  },
  test: { include: ["tests/**/*.test.ts"], environment: "node" },
});
