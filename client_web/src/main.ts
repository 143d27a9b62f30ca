import { invitation, takeInvitation } from "./access";
import { Call } from "./call";
import { CheckDialog } from "./check";
import { byId } from "./dom";
import { fetchAccess } from "./http";
import { icon } from "./icons";
import { Lobby, type Entry } from "./lobby";
import { PhotoDialog } from "./photos";
import type { Show } from "./show/show";
import { offerJustWatching, readWatchLink, watchEntry, watchUrl } from "./show/watching";

/** The page: first the lobby, then the call, then the lobby again. */
const whole = takeInvitation();
const query = new URLSearchParams(location.search);
let call: Call | null = null;
let show: Show | null = null;

// a link that differs in its token alone loads no page by itself
addEventListener("hashchange", () => {
  if (new URLSearchParams(location.hash.slice(1)).has("token")) location.reload();
});

const photos = new PhotoDialog(() => call?.personChanged());
const check = new CheckDialog();
document.body.append(photos.element, check.element);
byId("lobby-check").onclick = () => check.open(byId<HTMLInputElement>("room").value.trim());
byId("check").append(icon("ways"));

const access = await fetchAccess();
const given = { room: query.get("room") ?? "", name: query.get("name") ?? "", persons: query.getAll("person") };
/** Shows what the relay does, as long as nobody is in a call; its script comes after the lobby's. */
const present = async (): Promise<void> => {
  if (call) return;
  const { Show } = await import("./show/show");
  if (!call) show ??= new Show(byId("show"));
};
const enter = (entry: Entry): void => {
  show?.close();
  show = null;
  byId("lobby").hidden = true;
  byId("call").hidden = false;
  byId("check").onclick = () => check.open(entry.room);
  const persons = entry.persons.map((person) => ["person", person]);
  const joined = `/?${new URLSearchParams([["room", entry.room], ["name", entry.name], ...persons])}`;
  history.replaceState(null, "", entry.name ? joined : watchUrl(entry.room));
  call = new Call(entry, access, photos, (words) => {
    call = null;
    byId("call").hidden = true;
    lobby.open(words);
    void present();
  });
};
const lobby = new Lobby(given, access, photos, enter);
if (access.openToAll) for (const each of document.querySelectorAll<HTMLElement>(".open-to-all")) each.hidden = false;

if (!whole) lobby.close("The invitation link is damaged. Copy it whole, to its last character, or ask for a new one.");
else if (access.tokens && !invitation()) {
  lobby.close("This relay lets in by invitation only. Open the invitation link that you were sent.");
} else {
  const room = access.tokens ? null : readWatchLink(query);
  if (room) enter(watchEntry(room));
  else lobby.open("", query.get("autojoin") === "1");
}
offerJustWatching(access);
byId("show").classList.toggle("later", query.has("room") || localStorage.getItem("hime.lobby") !== null);
void present();
