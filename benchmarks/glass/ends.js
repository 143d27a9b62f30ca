// The two ends of a call in a browser: a camera whose frames carry the time at which they were made, and a meter that
// reads it back from what is shown. Times are milliseconds since the epoch, by the machine's one clock.

const BITS = 16, CHECK = 4, BLOCKS = BITS + CHECK; // a block of the strip at the top is a bit, the lowest first
const STRIP = 14 / 180; // of the height

const now = () => performance.timeOrigin + performance.now();
const checkOf = (time) => [0, 4, 8, 12].reduce((sum, shift) => sum ^ ((time >> shift) & 15), 5);
const sleepUntil = (time) => new Promise((done) => setTimeout(done, Math.max(0, time - now())));

/** Pictures at a frame rate: all once, then from `loop` on back and forth. */
function camera(pictures, loop, width, height, fps) {
  const generator = new MediaStreamTrackGenerator({ kind: "video" });
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { alpha: false });
  const span = pictures.length - 1 - loop;
  const at = (n) => {
    if (n < pictures.length) return n;
    const back = (n - pictures.length + 1) % (2 * span);
    return pictures.length - 1 - Math.min(back, 2 * span - back);
  };
  const bytes = (n) => Uint8Array.from(atob(pictures[at(n)]), (character) => character.charCodeAt(0));
  const read = (n) => createImageBitmap(new Blob([bytes(n)], { type: "image/jpeg" }));
  const run = async () => {
    const writer = generator.writable.getWriter();
    const start = now();
    let next = read(0);
    for (let n = 0; generator.readyState === "live"; n++) {
      const picture = await next;
      next = read(n + 1); // no part of what is measured
      await sleepUntil(start + (1000 * n) / fps);
      context.drawImage(picture, 0, 0);
      picture.close();
      const made = now();
      const time = Math.round(made) % 65536;
      const bits = time | (checkOf(time) << BITS);
      const block = width / BLOCKS;
      for (let bit = 0; bit < BLOCKS; bit++) {
        context.fillStyle = (bits >> bit) & 1 ? "rgb(210 210 210)" : "rgb(45 45 45)";
        context.fillRect(bit * block, 0, block, height * STRIP);
      }
      await writer.write(new VideoFrame(canvas, { timestamp: Math.round(1000 * (made - start)) }));
    }
  };
  void run().catch((error) => {
    if (generator.readyState === "live") console.error(error);
  });
  return generator;
}

function sound() {
  const context = new AudioContext();
  const tone = new OscillatorNode(context, { frequency: 220 });
  const quiet = new GainNode(context, { gain: 0.05 });
  const out = new MediaStreamAudioDestinationNode(context, { channelCount: 1 });
  tone.connect(quiet).connect(out);
  tone.start();
  return out.stream.getAudioTracks()[0];
}

async function gathered(pc) {
  while (pc.iceGatheringState !== "complete")
    await new Promise((done) => pc.addEventListener("icegatheringstatechange", done, { once: true }));
  return pc.localDescription.sdp;
}

/** The statistics of the RTP streams of the connections that are there; those of the newest come first. */
async function streams(connections) {
  const there = connections.filter((pc) => pc.connectionState === "connected").reverse();
  const reports = await Promise.all(there.map((pc) => pc.getStats()));
  return reports.flatMap((report) => [...report.values()]).filter((one) => /^(in|out)bound-rtp$/.test(one.type));
}

/** What both ends do: offer, answer, accept, and tell their statistics. */
class End {
  pc = new RTCPeerConnection();

  async offer() {
    await this.pc.setLocalDescription();
    return gathered(this.pc);
  }

  async answer(sdp) {
    await this.pc.setRemoteDescription({ type: "offer", sdp });
    await this.pc.setLocalDescription();
    return gathered(this.pc);
  }

  async accept(sdp) {
    await this.pc.setRemoteDescription({ type: "answer", sdp });
  }

  stats() {
    return streams([this.pc]);
  }
}

class Publisher extends End {
  constructor(track, withSound) {
    super();
    this.stream = new MediaStream([track, ...(withSound ? [sound()] : [])]);
    for (const one of this.stream.getTracks())
      this.pc.addTransceiver(one, { direction: "sendonly", streams: [this.stream] });
  }

  stop() {
    this.pc.close();
    for (const one of this.stream.getTracks()) one.stop();
  }
}

class Watcher extends End {
  constructor(withSound, recvonly, target) {
    super();
    this.video = document.createElement("video");
    this.video.autoplay = this.video.playsInline = true;
    this.video.srcObject = new MediaStream();
    document.body.replaceChildren(this.video);
    this.pc.addEventListener("track", ({ track, receiver }) => {
      this.video.srcObject.addTrack(track);
      if (target !== null) receiver.jitterBufferTarget = target;
    });
    if (recvonly) for (const kind of withSound ? ["video", "audio"] : ["video"]) this.pc.addTransceiver(kind, { direction: "recvonly" });
    this.meter = new Meter(this.video);
  }

  stop() {
    this.meter.stop();
    this.pc.close();
  }
}

/** Each frame that a video shows: the time in it, when it had come in, and when it is shown. */
class Meter {
  frames = []; // [time in it or null where it cannot be read, received, shown, width, RTP timestamp]
  #stopped = false;

  constructor(video) {
    this.video = video;
    video.requestVideoFrameCallback(this.#shown);
  }

  stop() {
    this.#stopped = true;
  }

  taken() {
    return this.frames.splice(0);
  }

  #shown = async (_, { expectedDisplayTime, receiveTime, width, rtpTimestamp }) => {
    if (this.#stopped) return;
    this.video.requestVideoFrameCallback(this.#shown);
    const frame = new VideoFrame(this.video);
    try {
      const [received, shown] = [receiveTime, expectedDisplayTime].map((time) => performance.timeOrigin + time);
      this.frames.push([await strip(frame), received, shown, width, rtpTimestamp]);
    } finally {
      frame.close();
    }
  };
}

/** The time in a frame, modulo 65536, or null where the strip cannot be read. Only a row of its luma is copied. */
async function strip(frame) {
  const { codedWidth, codedHeight } = frame;
  const y = 2 * Math.round((codedHeight * STRIP) / 4);
  const rect = { x: 0, y, width: codedWidth - (codedWidth % 2), height: 2 };
  const bytes = new Uint8Array(frame.allocationSize({ rect }));
  const [luma] = await frame.copyTo(bytes, { rect });
  const step = frame.format?.startsWith("I420") || frame.format === "NV12" ? 1 : 4;
  const block = rect.width / BLOCKS;
  let bits = 0;
  for (let bit = 0; bit < BLOCKS; bit++)
    if (bytes[luma.offset + step * Math.round((bit + 0.5) * block)] > 128) bits |= 1 << bit;
  const time = bits & 0xffff;
  return bits >> BITS === checkOf(time) ? time : null;
}

// What a page opens is remembered, so that it can be asked for statistics.
window.connections = [];
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...options) {
    super(...options);
    window.connections.push(this);
  }
};
window.glass = { camera, sound, streams, Publisher, Watcher, Meter };
