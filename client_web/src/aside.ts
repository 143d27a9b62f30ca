import { fetchBank } from "./bank";
import { setAside } from "./known";

const POLL_MS = 8000;

/** Notices that registered photos of one's own stream match no face in it, once two looks in a row have said so. */
export class PhotosAside {
  private readonly timer = setInterval(() => void this.look(), POLL_MS);
  private before: string[] = [];
  private told = "";

  /** `onAside` hears the names when they change; none: there is nothing to say. */
  constructor(
    private readonly room: string,
    private readonly me: string,
    private readonly onAside: (names: string[]) => void,
  ) {}

  close(): void {
    clearInterval(this.timer);
  }

  private async look(): Promise<void> {
    if (document.hidden) return;
    const names = await fetchBank(this.room, this.me).then(setAside, () => null);
    if (!names) return;
    const sure = names.filter((name) => this.before.includes(name));
    this.before = names;
    if (sure.join() === this.told) return;
    this.told = sure.join();
    this.onAside(sure);
  }
}
