/** Linear sound levels: quieter than the first nobody speaks, quieter than the second a microphone is off. */
export const SPEAKS = 0.02;
export const SILENT = 1e-4;

const SMOOTHING = 0.5;
/** Times louder than who spoke before that another must be, and for how many looks in a row. */
const LOUDER = 1.5;
const LOOKS = 2;

/** Who speaks, by the levels of everyone's sound at each look; who spoke last stays until another does. */
export class Loudest {
  current: string | null = null;
  private readonly smoothed = new Map<string, number>();
  private rival = { name: "", looks: 0 };

  update(levels: ReadonlyMap<string, number>): string | null {
    for (const name of [...this.smoothed.keys()]) if (!levels.has(name)) this.smoothed.delete(name);
    for (const [name, level] of levels) this.smoothed.set(name, SMOOTHING * level + (1 - SMOOTHING) * (this.smoothed.get(name) ?? 0));
    if (this.current !== null && !levels.has(this.current)) this.current = null;
    const [name, level] = [...this.smoothed].reduce((most, each) => (each[1] > most[1] ? each : most), ["", 0]);
    const before = this.current === null ? 0 : (this.smoothed.get(this.current) ?? 0);
    if (level < SPEAKS || name === this.current || level < LOUDER * before) {
      this.rival = { name: "", looks: 0 };
      return this.current;
    }
    this.rival = { name, looks: this.rival.name === name ? this.rival.looks + 1 : 1 };
    if (this.current === null || this.rival.looks >= LOOKS) this.current = name;
    return this.current;
  }
}

/** Tells a microphone that is off, which sends silence, from pauses in speech. */
export class Silence {
  private since: number | null = null;

  /** level: null where no sound is received; now and after: ms. */
  update(level: number | null, now: number, after = 2500): boolean {
    if (level !== null && level > SILENT) this.since = null;
    else this.since ??= now;
    return this.since !== null && now - this.since >= after;
  }
}
