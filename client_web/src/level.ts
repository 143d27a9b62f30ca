/** Shows how loud the microphone is, so that a dead one is seen before the call. */
export class LevelMeter {
  private context: AudioContext | null = null;
  private frame = 0;

  constructor(private readonly bar: HTMLElement) {}

  start(stream: MediaStream): void {
    this.stop();
    if (stream.getAudioTracks().length === 0) return;
    const context = new AudioContext();
    this.context = context;
    const analyser = context.createAnalyser();
    context.createMediaStreamSource(stream).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    // browsers start audio contexts only after a gesture; the meter waits for one
    document.addEventListener("pointerdown", () => void context.resume().catch(() => undefined), { once: true });
    const draw = (): void => {
      analyser.getFloatTimeDomainData(samples);
      const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
      this.bar.style.transform = `scaleX(${loudness(power)})`;
      this.frame = requestAnimationFrame(draw);
    };
    draw();
  }

  stop(): void {
    cancelAnimationFrame(this.frame);
    void this.context?.close();
    this.context = null;
    this.bar.style.transform = "scaleX(0)";
  }
}

/** Mean power of samples in [-1, 1] as a bar's length: -60 dB is 0, full scale is 1. */
export function loudness(power: number): number {
  return Math.min(1, Math.max(0, 1 + (10 * Math.log10(power + 1e-12)) / 60));
}
