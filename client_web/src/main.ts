import { Call } from "./call";
import { byId } from "./dom";
import { Lobby } from "./lobby";
import { PhotoDialog } from "./photos";

/** The page: first the lobby, then the call, then the lobby again. */
const query = new URLSearchParams(location.search);
let call: Call | null = null;

const photos = new PhotoDialog(() => call?.personChanged());
document.body.append(photos.element);

const given = { room: query.get("room") ?? "", name: query.get("name") ?? "", persons: query.getAll("person") };
const lobby = new Lobby(given, photos, (entry) => {
  byId("lobby").hidden = true;
  byId("call").hidden = false;
  const persons = entry.persons.map((person) => ["person", person]);
  history.replaceState(null, "", `/?${new URLSearchParams([["room", entry.room], ["name", entry.name], ...persons])}`);
  call = new Call(entry, photos, () => {
    call = null;
    byId("call").hidden = true;
    void lobby.open();
  });
});

const autojoin = query.get("autojoin") === "1";
void lobby.open().then(() => {
  if (autojoin) lobby.join();
});
