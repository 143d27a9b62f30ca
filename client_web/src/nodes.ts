/**
 * The nodes of a relay of several machines (docs/cluster.md): one of them has the room, and gets all that is asked about
 * it. A relay that is alone is its only node.
 */
let nodes: readonly string[] = [];
let current: string | null = null;

/** What one node tells of all. */
export interface NodeTold {
  node: string;
  nodes: readonly string[];
}

/** Whether there are several, as `GET /api/access` told. */
export let clustered = false;

export function setClustered(on: boolean): void {
  clustered = on;
  nodes = on ? [location.origin] : [];
  current = null;
}

/** From now on, what is asked goes to that node. Those that were there before may come again. */
export function learnNodes(told: NodeTold): void {
  current = told.node;
  nodes = [...new Set([told.node, ...told.nodes, ...nodes])];
}

export function allNodes(): readonly string[] {
  return nodes;
}

/** A path's address at the node that has the room. */
export function atNode(path: string): string {
  return current === null ? path : new URL(path, current).href;
}

/** Whether a token may be sent there. */
export function isTrusted(origin: string): boolean {
  return origin === location.origin || nodes.includes(origin);
}
