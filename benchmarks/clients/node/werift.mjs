import { MediaStreamTrack, RTCPeerConnection, useH264, useOPUS, useVP8 } from 'werift';
import { AUDIO, VIDEO, codec, feed, hand, negotiate, way } from './signalling.mjs';

const pc = new RTCPeerConnection({
  iceServers: [],
  codecs: { audio: [useOPUS()], video: [codec === 'VP8' ? useVP8() : useH264()] },
});
if (way === 'publish') {
  const tracks = { [VIDEO]: new MediaStreamTrack({ kind: 'video' }), [AUDIO]: new MediaStreamTrack({ kind: 'audio' }) };
  for (const track of Object.values(tracks)) pc.addTransceiver(track, { direction: 'sendonly' });
  feed((data, payloadType) => tracks[payloadType].writeRtp(data));
} else {
  for (const [kind, payloadType] of [['video', VIDEO], ['audio', AUDIO]]) {
    const transceiver = pc.addTransceiver(kind, { direction: 'recvonly' });
    transceiver.onTrack.subscribe((track) => {
      track.onReceiveRtp.subscribe((packet) => hand(packet.serialize(), payloadType));
    });
  }
}
await pc.setLocalDescription(await pc.createOffer());
const sdp = await negotiate(pc.localDescription.sdp, () => pc.close());
await pc.setRemoteDescription({ type: 'answer', sdp });
