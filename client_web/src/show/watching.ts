import { invitation, type Access } from "../access";
import { CHOICES, type Choice } from "../choices";
import { byId } from "../dom";
import type { Entry } from "../lobby";
import { isName, nameProblem } from "../names";
import { t } from "../strings";

/** The room of a link that leads there without a camera, such as `/?room=demo&watch=1`; null where it is none. */
export function readWatchLink(query: URLSearchParams): string | null {
  const room = query.get("room") ?? "";
  return query.get("watch") === "1" && isName(room) ? room : null;
}

/** What the page's address, such as with `view=compare`, wants to be shown of everybody. */
export function linkedView(search: string): Choice {
  const view = new URLSearchParams(search).get("view");
  return CHOICES.find((choice) => choice === view) ?? "enhanced";
}

/** Of who sends nothing, and so needs no name. */
export function watchEntry(room: string): Entry {
  return { room, name: "", persons: [], stream: null, choice: { camera: "", microphone: "", quality: "medium" } };
}

/** The address that such a visitor can load again. */
export function watchUrl(room: string): string {
  const view = linkedView(location.search);
  return `/?${new URLSearchParams({ room, watch: "1", ...(view === "enhanced" ? {} : { view }) })}`;
}

/** Offered where nobody is asked for a token; an invitation says by itself whether one only watches. */
export function offerJustWatching(access: Access): void {
  const button = byId<HTMLButtonElement>("just-watch");
  button.hidden = access.tokens || invitation() !== null;
  button.addEventListener("click", () => {
    const room = byId<HTMLInputElement>("room");
    const problem = nameProblem(room.value.trim(), t.names.room);
    byId("join-message").textContent = problem ?? "";
    if (problem) room.focus();
    else location.assign(watchUrl(room.value.trim()));
  });
}
