import { getJson } from "./http";
import { allNodes, clustered, learnNodes, type NodeTold } from "./nodes";

/** A node that does not answer in this time is lost, or as good as lost. */
const ANSWER_MS = 1500;

/** Learns which node has the room: the first answer of all nodes that are known counts. Never fails. */
export async function locate(room: string): Promise<void> {
  if (!clustered) return;
  const ask = (node: string): Promise<NodeTold> =>
    getJson<NodeTold>(`${node}/api/rooms/${room}/node`, { signal: AbortSignal.timeout(ANSWER_MS) });
  // none answers: the network is away, and what was known may still be right
  const told = await Promise.any(allNodes().map(ask)).catch(() => null);
  if (told) learnNodes(told);
}
