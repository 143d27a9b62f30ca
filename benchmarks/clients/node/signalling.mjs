// What both stacks share: HTTP to the relay, RTP to and from the process that started this one, and the end.
//
//   node STACK.mjs publish|watch URL VP8|H264 PORT
//
// publish: RTP that comes to UDP port PORT of 127.0.0.1 goes to the relay; watch: what comes from the relay goes there.
// Ends with its standard input.
import { createSocket } from 'node:dgram';

export const [way, url, codec, port] = process.argv.slice(2);
export const VIDEO = 96; // payload types, as the process at the other end has them
export const AUDIO = 111;

const socket = createSocket('udp4');

/** take: called with each RTP packet that is to be sent, and its payload type. */
export function feed(take) {
  socket.on('message', (data) => take(data, data[1] & 0x7f));
  socket.bind(Number(port), '127.0.0.1');
}

/** Hands a received RTP packet on, under our payload type. */
export function hand(data, payloadType) {
  data[1] = (data[1] & 0x80) | payloadType;
  socket.send(data, Number(port), '127.0.0.1');
}

/** The answer to an offer; the session ends when this process is told to. close: closes the connection. */
export async function negotiate(offer, close) {
  const response = await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/sdp' }, body: offer });
  const text = await response.text();
  if (response.status !== 201) throw new Error(`${response.status}: ${text} to ${JSON.stringify(offer)}`);
  const location = new URL(response.headers.get('Location'), url);
  process.stdin.resume().on('end', async () => {
    const ended = await fetch(location, { method: 'DELETE' });
    close();
    process.exit(ended.ok ? 0 : 1);
  });
  return text;
}
