import { Call } from "./call";
import { byId } from "./dom";
import { Lobby } from "./lobby";
import { PhotoDialog } from "./photos";

/** The page: first the lobby, then the call, then the lobby again. */
const query = new URLSearchParams(location.search);
let call: Call | null = null;

const photos = new PhotoDialog(() => call?.personChanged());
document.body.append(photos.element);

const lobby = new Lobby({ room: query.get("room") ?? "", name: query.get("name") ?? "" }, photos, (entry) => {
  byId("lobby").hidden = true;
  byId("call").hidden = false;
  history.replaceState(null, "", `/?${new URLSearchParams({ room: entry.room, name: entry.name })}`);
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
