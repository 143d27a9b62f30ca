"""What a guest does, in the guest's network: a browser calls the relay by https, publishes and watches, and counts.

python -m benchmarks.hosting.guest URL ROOM HOME SECONDS, with the ICE servers, a token and the link of an invitation as
JSON on standard input.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

CALL = """
async ({room, token, servers, seconds}) => {
  const authorization = token ? {Authorization: `Bearer ${token}`} : {};
  const told = (header) => [...(header ?? "").matchAll(/<([^>]+)>([^,<]*)/g)].map(([, urls, rest]) => ({
    urls,
    username: /username="([^"]*)"/.exec(rest)?.[1],
    credential: /credential="([^"]*)"/.exec(rest)?.[1],
  }));
  const exchange = async (pc, path) => {
    await pc.setLocalDescription(await pc.createOffer());
    await new Promise((done) => {
      pc.addEventListener("icecandidate", ({candidate}) => candidate ?? done());
      setTimeout(done, 4000);
    });
    const headers = {"Content-Type": "application/sdp", ...authorization};
    const answer = await fetch(path, {method: "POST", headers, body: pc.localDescription.sdp});
    if (answer.status !== 201) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    await pc.setRemoteDescription({type: "answer", sdp: await answer.text()});
    return answer.headers.get("Location");
  };
  const connected = (pc) => new Promise((done, failed) => {
    const look = () => {
      if (pc.connectionState === "connected") done();
      if (pc.connectionState === "failed") failed(new Error("no way was found for media"));
    };
    pc.addEventListener("connectionstatechange", look);
    setTimeout(() => failed(new Error("no connection within 20 s")), 20000);
    look();
  });
  const path = async (pc) => {
    const stats = await pc.getStats();
    const all = [...stats.values()];
    const transport = all.find((one) => one.type === "transport");
    const pair = stats.get(transport.selectedCandidatePairId);
    const [local, remote] = [stats.get(pair.localCandidateId), stats.get(pair.remoteCandidateId)];
    return {
      local: local.candidateType, relayProtocol: local.relayProtocol ?? null, remotePort: remote.port,
      sent: all.find((one) => one.type === "outbound-rtp" && one.kind === "video")?.framesSent ?? 0,
      decoded: all.find((one) => one.type === "inbound-rtp" && one.kind === "video")?.framesDecoded ?? 0,
    };
  };
  const asked = await fetch(`/whip/${room}/guest`, {method: "OPTIONS", headers: authorization});
  const linked = told(asked.headers.get("Link"));
  const configuration = {iceServers: linked.some((one) => one.username) ? linked : servers};
  const media = await navigator.mediaDevices.getUserMedia({video: {width: 320, height: 180}, audio: true});
  const publisher = new RTCPeerConnection(configuration);
  media.getTracks().forEach((track) => publisher.addTransceiver(track, {direction: "sendonly"}));
  const locations = [await exchange(publisher, `/whip/${room}/guest`)];
  await connected(publisher);
  await new Promise((done) => setTimeout(done, 1500));
  const watcher = new RTCPeerConnection(configuration);
  watcher.addTransceiver("video", {direction: "recvonly"});
  watcher.addTransceiver("audio", {direction: "recvonly"});
  locations.push(await exchange(watcher, `/whep/${room}/guest?view=enhanced`));
  await connected(watcher);
  await new Promise((done) => setTimeout(done, 1000 * seconds));
  const result = {publishes: await path(publisher), watches: await path(watcher), told: linked.length};
  for (const location of locations.reverse()) await fetch(location, {method: "DELETE", headers: authorization});
  return result;
}
"""


# The page's own picture, as the relay gives it back, has played for two seconds.
SHOWN = """() => {
  const video = document.querySelector(".tile video");
  return video && video.currentTime > 2 && [video.videoWidth, video.videoHeight];
}"""


def call(url: str, room: str, home: Path, seconds: float, told: dict[str, Any]) -> dict[str, Any]:
    """One call of one browser, whose own trust store is in `home`. Raises playwright's errors."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            env={**os.environ, "HOME": str(home)},
            args=["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--no-sandbox"],
        )
        try:
            page = browser.new_page()
            answer = page.goto(url)
            assert answer is not None and answer.status == 200, f"{url} answers {answer and answer.status}"
            link = told.pop("link")
            result: dict[str, Any] = page.evaluate(CALL, {"room": room, "seconds": seconds, **told})
            page.goto("about:blank")
            page.goto(link)
            page.get_by_role("button", name=re.compile("^Join")).click()
            video = page.wait_for_function(SHOWN, timeout=60_000).json_value()
            result["page"] = "{}x{}".format(*video)
        finally:
            browser.close()
    return result


def main() -> None:
    url, room, home, seconds = sys.argv[1:]
    print(json.dumps(call(url, room, Path(home), float(seconds), json.load(sys.stdin))))


if __name__ == "__main__":
    main()
