import { el } from "./dom";
import { icon } from "./icons";
import { t } from "./strings";

/** In the order of the list that explains them. */
export const KEYS = { m: "mic", c: "camera", v: "view", f: "full", s: "speaker", l: "leave", "?": "help" } as const;
export type Action = (typeof KEYS)[keyof typeof KEYS];

/** The action of a key press; null where there is none, or where the press is meant for something else. */
export function actionOf(event: Pick<KeyboardEvent, "key" | "ctrlKey" | "metaKey" | "altKey" | "repeat" | "target">): Action | null {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return null;
  const target = event.target as Partial<HTMLElement> | null;
  if (target?.closest?.("input, select, textarea, dialog, [popover]")) return null;
  const key = event.key.toLowerCase();
  return key in KEYS ? KEYS[key as keyof typeof KEYS] : null;
}

/** Acts on keys until aborted. */
export function onShortcuts(act: Record<Action, () => void>, signal: AbortSignal): void {
  document.addEventListener(
    "keydown",
    (event) => {
      const action = actionOf(event);
      if (!action || document.querySelector("dialog[open]")) return;
      event.preventDefault();
      act[action]();
    },
    { signal },
  );
}

/** The list of keys. */
export function shortcutDialog(): HTMLDialogElement {
  const close = el("button", { type: "button", class: "plain", "aria-label": t.close }, [icon("close")]);
  const rows = Object.entries(KEYS).flatMap(([key, action]) => [
    el("dt", {}, [el("kbd", {}, [key.toUpperCase()])]),
    el("dd", {}, [t.shortcuts[action]]),
  ]);
  const dialog = el("dialog", { class: "panel", "aria-labelledby": "shortcuts-title" }, [
    el("header", {}, [el("h2", { id: "shortcuts-title" }, [t.controls.shortcuts]), close]),
    el("dl", { class: "keys" }, rows),
  ]);
  close.addEventListener("click", () => dialog.close());
  return dialog;
}
