import type { ParticipantStats, PictureState } from "./room";
import { t } from "./strings";
import type { View } from "./whep";

/** good: the picture is better than it came; plain: it is as it came; wait: something would help. */
export type Tone = "good" | "plain" | "wait";

export interface Badge {
  tone: Tone;
  words: string;
}

export interface Shown {
  /** null where one sees oneself. */
  name: string | null;
  view: View;
  /** Whether the picture is black, as of a camera that is turned off. */
  black: boolean;
}

/** What happens to a picture, and what would help, in words. */
export function badgeOf(state: PictureState, stats: ParticipantStats | undefined, { name, view, black }: Shown): Badge {
  if (state === "waiting") return { tone: "wait", words: t.badge.waiting };
  if (stats?.content === "screen") return { tone: "plain", words: t.badge.screen };
  if (black) return { tone: "plain", words: t.badge.cameraOff };
  if (view === "original") return { tone: "plain", words: t.badge.original };
  const face = stats?.face;
  if (!face) return { tone: "plain", words: t.badge.noFace };
  switch (face.reason) {
    case null:
      if (state === "passed") return { tone: "wait", words: t.badge.busy };
      if (face.exemplars === 0) return { tone: "good", words: t.badge.sharpenedAlone };
      return { tone: "good", words: t.badge.sharpened(face.exemplars, name ?? t.badge.you) };
    case "no_exemplar":
      return { tone: "wait", words: name === null ? t.badge.learning : t.badge.learningOther };
    case "unrecognised":
      return { tone: "wait", words: t.badge.unsure };
    case "close":
    case "too_large":
      return { tone: "plain", words: t.badge.clear };
    case "late":
    case "overload":
    case "shed":
      return { tone: "wait", words: t.badge.busy };
    case "unwatched":
      return { tone: "plain", words: t.badge.unwatched };
    default:
      return { tone: "wait", words: t.badge.failed };
  }
}

/** Holds a badge until another one has come twice in a row: faces at a limit go to and fro. */
export class SteadyBadge {
  private shown: Badge | null = null;
  private next = "";

  update(badge: Badge): Badge {
    const sure = this.shown === null || badge.words === this.next;
    this.next = badge.words;
    if (sure) this.shown = badge;
    return this.shown!;
  }
}
