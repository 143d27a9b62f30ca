import { defineConfig } from "vitest/config";

const SERVER = "http://localhost:8080";

export default defineConfig({
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
