import { vi } from "vitest";

/** What the clients use of a peer connection, under the test's control. */
export class FakePeerConnection extends EventTarget {
  static made: FakePeerConnection[] = [];
  iceGatheringState: RTCIceGatheringState = "complete";
  connectionState: RTCPeerConnectionState = "new";
  signalingState: RTCSignalingState = "stable";
  localDescription: RTCSessionDescriptionInit | null = null;
  remoteDescription: RTCSessionDescriptionInit | null = null;
  transceivers: FakeTransceiver[] = [];

  constructor(private configuration: RTCConfiguration = {}) {
    super();
    FakePeerConnection.made.push(this);
  }

  getConfiguration(): RTCConfiguration {
    return this.configuration;
  }

  setConfiguration(configuration: RTCConfiguration): void {
    this.configuration = configuration;
  }

  addTransceiver(trackOrKind: { kind: string } | string, init: RTCRtpTransceiverInit): FakeTransceiver {
    const kind = typeof trackOrKind === "string" ? trackOrKind : trackOrKind.kind;
    const transceiver = new FakeTransceiver(kind, init);
    transceiver.sender.replaceTrack.mockImplementation(async () => {
      if (this.connectionState === "closed") throw new DOMException("It is closed.", "InvalidStateError");
    });
    this.transceivers.push(transceiver);
    return transceiver;
  }

  getTransceivers(): FakeTransceiver[] {
    return this.transceivers;
  }

  async getStats(): Promise<Map<string, unknown>> {
    return new Map([["pair", { type: "candidate-pair", nominated: true, currentRoundTripTime: 0.023 }]]);
  }

  async createOffer(options: RTCOfferOptions = {}): Promise<RTCSessionDescriptionInit> {
    return { type: "offer", sdp: options.iceRestart ? RESTARTING_OFFER : OFFER };
  }

  async setLocalDescription(description: RTCSessionDescriptionInit): Promise<void> {
    this.signalingState = "have-local-offer";
    this.localDescription = description;
  }

  async setRemoteDescription(description: RTCSessionDescriptionInit): Promise<void> {
    if (this.signalingState !== "have-local-offer") throw new DOMException("No offer is open.", "InvalidStateError");
    this.signalingState = "stable";
    this.remoteDescription = description;
  }

  close(): void {
    this.connectionState = "closed";
  }

  become(state: RTCPeerConnectionState): void {
    this.connectionState = state;
    this.dispatchEvent(new Event("connectionstatechange"));
  }

  gatheringIs(state: RTCIceGatheringState): void {
    this.iceGatheringState = state;
    this.dispatchEvent(new Event("icegatheringstatechange"));
  }

  candidate(candidate: Partial<RTCIceCandidate> | null): void {
    this.dispatchEvent(Object.assign(new Event("icecandidate"), { candidate }));
  }
}

export class FakeTransceiver {
  preferences: RTCRtpCodec[] = [];
  sender = { replaceTrack: vi.fn(async () => undefined) };
  receiver = { track: { kind: "" }, transport: Object.assign(new EventTarget(), { state: "connected" }) };

  constructor(
    readonly kind: string,
    readonly init: RTCRtpTransceiverInit,
  ) {
    this.receiver.track.kind = kind;
  }

  setCodecPreferences(codecs: RTCRtpCodec[]): void {
    this.preferences = codecs;
  }
}

export const OFFER = [
  "v=0",
  "a=ice-ufrag:frag",
  "a=ice-pwd:secretsecretsecretsecret",
  "m=audio 9 UDP/TLS/RTP/SAVPF 111",
  "a=mid:0",
  "m=video 9 UDP/TLS/RTP/SAVPF 96",
  "a=mid:1",
  "",
].join("\r\n");

export const RESTARTING_OFFER = [
  "v=0",
  "m=audio 9 UDP/TLS/RTP/SAVPF 111",
  "a=ice-ufrag:frag2",
  "a=ice-pwd:othersecretothersecret22",
  "a=mid:0",
  "a=candidate:1 1 udp 1 10.0.0.2 5000 typ host",
  "a=end-of-candidates",
  "m=video 9 UDP/TLS/RTP/SAVPF 96",
  "a=ice-ufrag:frag2",
  "a=ice-pwd:othersecretothersecret22",
  "a=mid:1",
  "",
].join("\r\n");

const CODECS = ["video/H264", "video/VP8", "video/rtx", "video/VP9"].map((mimeType) => ({ mimeType, clockRate: 90000 }));

export class FakeMediaStream {
  constructor(private readonly tracks: { kind: string }[] = []) {}
  addTrack(track: { kind: string }): void {
    this.tracks.push(track);
  }
  getTracks(): { kind: string }[] {
    return this.tracks;
  }
}

/** Server-sent events by hand, in the place of the package `eventsource`. */
export class FakeEventSource extends EventTarget {
  static made: FakeEventSource[] = [];
  closed = false;

  /** `init.fetch`: what the real one would ask with. */
  constructor(
    readonly url: string,
    readonly init: { fetch: (input: string, init: RequestInit) => Promise<Response> },
  ) {
    super();
    FakeEventSource.made.push(this);
  }

  static get last(): FakeEventSource {
    return FakeEventSource.made.at(-1)!;
  }

  close(): void {
    this.closed = true;
  }

  open(): void {
    this.dispatchEvent(new Event("open"));
  }

  fail(): void {
    this.dispatchEvent(new Event("error"));
  }

  send(event: string, data: unknown): void {
    this.dispatchEvent(Object.assign(new Event(event), { data: JSON.stringify(data) }));
  }
}

export interface Call {
  url: string;
  method: string;
  headers: Record<string, string>;
  body: string;
  keepalive: boolean;
}

/** Replaces fetch; `answer` sees each call, but those by OPTIONS, which no server answers unless `told` does. */
export function fakeFetch(
  answer: (call: Call) => Response | Promise<Response>,
  told: (call: Call) => Response | Promise<Response> = () => new Response(null, { status: 405 }),
): Call[] {
  const calls: Call[] = [];
  vi.stubGlobal("fetch", async (url: string, init: RequestInit = {}) => {
    const call = {
      url,
      method: init.method ?? "GET",
      headers: (init.headers ?? {}) as Record<string, string>,
      body: String(init.body ?? ""),
      keepalive: init.keepalive ?? false,
    };
    if (call.method === "OPTIONS") return told(call);
    calls.push(call);
    return answer(call);
  });
  return calls;
}

export function stubBrowser(): void {
  FakePeerConnection.made = [];
  FakeEventSource.made = [];
  vi.stubGlobal("RTCPeerConnection", FakePeerConnection);
  vi.stubGlobal("MediaStream", FakeMediaStream);
  vi.stubGlobal("RTCRtpSender", { getCapabilities: () => ({ codecs: CODECS, headerExtensions: [] }) });
  vi.stubGlobal("RTCRtpReceiver", { getCapabilities: () => ({ codecs: CODECS, headerExtensions: [] }) });
  vi.stubGlobal("location", { href: "http://relay.test/", origin: "http://relay.test" });
}

export function created(location: string, headers: Record<string, string> = {}): Response {
  return new Response("v=0 answer", { status: 201, headers: { "Content-Type": "application/sdp", Location: location, ...headers } });
}

export function problem(status: number, detail: string): Response {
  return new Response(JSON.stringify({ title: "Problem", status, detail }), {
    status,
    headers: { "Content-Type": "application/problem+json" },
  });
}
