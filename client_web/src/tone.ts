import { toOutput } from "./output";

const SECONDS = 0.9;
/** Hz; two, so that a speaker that has only one of low and high is heard too. */
const NOTES = [523, 784];

/** Plays two short notes where the call is heard, so that a dead speaker is noticed. */
export async function playTone(): Promise<void> {
  const context = new AudioContext();
  await context.resume();
  // by an element, as not every browser lets a context itself choose its device
  const heard = new MediaStreamAudioDestinationNode(context);
  const player = new Audio();
  player.srcObject = heard.stream;
  await toOutput(player);
  await player.play();
  NOTES.forEach((frequency, at) => {
    const start = context.currentTime + (at * SECONDS) / NOTES.length;
    const note = new OscillatorNode(context, { frequency });
    const gain = new GainNode(context, { gain: 0 });
    gain.gain.setValueAtTime(0.2, start);
    gain.gain.exponentialRampToValueAtTime(0.001, start + SECONDS / NOTES.length);
    note.connect(gain).connect(heard);
    note.start(start);
    note.stop(start + SECONDS / NOTES.length);
  });
  setTimeout(() => {
    player.srcObject = null;
    void context.close();
  }, 1000 * SECONDS + 200);
}
