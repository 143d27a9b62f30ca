import { invitation, takeInvitation } from "./access";
import { Call } from "./call";
import { CheckDialog } from "./check";
import { byId } from "./dom";
import { fetchAccess } from "./http";
import { Lobby, type Entry } from "./lobby";
import { locate } from "./locate";
import { followLook } from "./looks";
import { FaceDialog } from "./photos";
import { setClustered } from "./nodes";
import type { Show } from "./show/show";
import { offerJustWatching, readWatchLink, watchEntry, watchUrl } from "./show/watching";
import { fillIn, t } from "./strings";

/** The page: first the lobby, then the call, then the lobby again. */
followLook();
fillIn(document);
const whole = takeInvitation();
const query = new URLSearchParams(location.search);
let call: Call | null = null;
let show: Show | null = null;

// a link that differs in its token alone loads no page by itself
addEventListener("hashchange", () => {
  if (new URLSearchParams(location.hash.slice(1)).has("token")) location.reload();
});

const face = new FaceDialog(() => call?.personChanged());
const check = new CheckDialog();
document.body.append(face.element, check.element);
byId("lobby-check").onclick = () => check.open(byId<HTMLInputElement>("room").value.trim());

const access = await fetchAccess();
setClustered(access.cluster);
const given = { room: query.get("room") ?? "", name: query.get("name") ?? "", persons: query.getAll("person") };
/** Shows what the relay does, as long as nobody is in a call; its script comes after the lobby's. */
const present = async (): Promise<void> => {
  if (call) return;
  const { Show } = await import("./show/show");
  if (!call) show ??= new Show(byId("show"));
};
const enter = async (entry: Entry): Promise<void> => {
  await locate(entry.room);
  show?.close();
  show = null;
  byId("lobby").hidden = true;
  byId("call").hidden = false;
  const persons = entry.persons.map((person) => ["person", person]);
  const joined = `/?${new URLSearchParams([["room", entry.room], ["name", entry.name], ...persons])}`;
  history.replaceState(null, "", entry.name ? joined : watchUrl(entry.room));
  call = new Call(entry, access, face, () => check.open(entry.room), (words) => {
    call = null;
    byId("call").hidden = true;
    lobby.open(words);
    void present();
  });
};
const lobby = new Lobby(given, access, face, (entry) => void enter(entry));
if (access.openToAll) for (const each of document.querySelectorAll<HTMLElement>(".open-to-all")) each.hidden = false;

if (!whole) lobby.close(t.lobby.damaged);
else if (access.tokens && !invitation()) {
  lobby.close(t.lobby.byInvitation);
} else {
  const room = access.tokens ? null : readWatchLink(query);
  if (room) void enter(watchEntry(room));
  else lobby.open("", query.get("autojoin") === "1");
}
offerJustWatching(access);
byId("show").classList.toggle("later", query.has("room") || localStorage.getItem("hime.lobby") !== null);
void present();
