// The offer goes out as soon as it is there, and no candidate is ever told: the relay learns them by their checks.
import library from 'node-datachannel';
import { AUDIO, VIDEO, codec, feed, hand, negotiate, way } from './signalling.mjs';

const pc = new library.PeerConnection('peer', { iceServers: [] });
const direction = way === 'publish' ? 'SendOnly' : 'RecvOnly';
const audio = new library.Audio('0', direction);
audio.addOpusCodec(AUDIO);
const video = new library.Video('1', direction);
if (codec === 'VP8') video.addVP8Codec(VIDEO);
else video.addH264Codec(VIDEO);
if (way === 'publish') {
  audio.addSSRC(2, 'peer', 'stream', 'sound');
  video.addSSRC(1, 'peer', 'stream', 'picture');
}
const tracks = { [AUDIO]: pc.addTrack(audio), [VIDEO]: pc.addTrack(video) };
if (way === 'publish') {
  feed((data, payloadType) => {
    if (tracks[payloadType].isOpen()) tracks[payloadType].sendMessageBinary(data);
  });
} else {
  for (const [payloadType, track] of Object.entries(tracks)) {
    track.setMediaHandler(new library.RtcpReceivingSession());
    track.onMessage((data) => hand(data, Number(payloadType)));
  }
}
const offer = await new Promise((resolve) => {
  pc.onLocalDescription(resolve);
  pc.setLocalDescription('offer');
});
const sdp = await negotiate(offer, () => {
  pc.close();
  library.cleanup();
});
pc.setRemoteDescription(sdp, 'answer');
