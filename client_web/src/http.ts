import { EventSource } from "eventsource";
import { accessOf, invitation, type Access } from "./access";
import { atNode, clustered, isTrusted } from "./nodes";
import { t } from "./strings";

/** An HTTP answer that is an error; the message is the RFC 9457 problem body's detail where there is one. */
export class HttpError extends Error {
  constructor(
    readonly status: number,
    message: string,
    /** The problem body, with whatever members it has. */
    readonly problem: Readonly<Record<string, unknown>> = {},
    /** Seconds that the server asks to wait (Retry-After); null where it does not. */
    readonly retryAfter: number | null = null,
  ) {
    super(message);
    this.name = "HttpError";
  }

  /** Whether the invitation, or its absence, is the reason: asking again would change nothing. */
  get isForGood(): boolean {
    return this.status === 401 || this.status === 403;
  }
}

export async function errorOf(response: Response): Promise<HttpError> {
  const fallback = `The server answered ${response.status} ${response.statusText}`.trim();
  const seconds = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  const retryAfter = seconds >= 0 ? seconds : null;
  if ((response.headers.get("Content-Type") ?? "").includes("json")) {
    try {
      const problem = (await response.json()) as Record<string, unknown> | null;
      const words = problem?.detail ?? problem?.title;
      const message = typeof words === "string" && words ? words : fallback;
      return new HttpError(response.status, message, problem ?? {}, retryAfter);
    } catch {
      // a broken body says no more than the status line
    }
  }
  return new HttpError(response.status, fallback, {}, retryAfter);
}

/**
 * fetch with the invitation's token, which goes to this page's own server and its other nodes only; paths go to the node
 * that has the room. Every request of the page is made here.
 */
export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  const url = atNode(path);
  const token = invitation()?.token;
  const headers = { ...(init.headers as Record<string, string> | undefined) };
  if (token !== undefined && isTrusted(new URL(url, location.href).origin)) headers.Authorization = `Bearer ${token}`;
  if (!clustered) return fetch(url, { ...init, headers });
  const response = await fetch(url, { ...init, headers, redirect: "manual" });
  // Browsers drop the token on the way to another node. The room has moved: whoever asks again has learnt where to.
  return response.type === "opaqueredirect" ? new Response(null, { status: 503, statusText: "Moved" }) : response;
}

/** A JSON answer; throws HttpError for an error status. */
export async function getJson<T>(url: string, init?: RequestInit): Promise<T> {
  const response = await request(url, init);
  if (!response.ok) throw await errorOf(response);
  return (await response.json()) as T;
}

/** What the relay asks of everyone who comes; a relay that does not tell asks nothing. */
export async function fetchAccess(): Promise<Access> {
  return accessOf(await getJson<Record<string, unknown>>("/api/access").catch(() => null));
}

/**
 * Server-sent events. The browser's own EventSource cannot send a token. `onRefused` hears of an answer that is an
 * error, before the source's `error` event.
 */
export function eventSource(url: string, onRefused: (error: HttpError) => void): EventSource {
  return new EventSource(atNode(url), {
    fetch: async (input, init) => {
      const response = await request(String(input), init as RequestInit);
      if (!response.ok) onRefused(await errorOf(response.clone()));
      return response;
    },
  });
}

/** What went wrong, in words that a person can act on. */
export function inWords(error: unknown): string {
  if (error instanceof HttpError) return refusalInWords(error);
  // fetch rejects with a TypeError when there is no answer at all
  if (error instanceof TypeError) return t.errors.noServer;
  if (error instanceof Error && error.message) return error.message;
  return String(error);
}

/** Of a kind that this page knows, in the user's language; null of others. */
export function problemInWords(problem: HttpError["problem"], retryAfter: number | null): string | null {
  const kind = /^\/problems\/([\w-]+)$/.exec(String(problem.type))?.[1] ?? "";
  if (!Object.hasOwn(t.problems, kind)) return null;
  const held: Record<string, unknown> = { ...problem, seconds: retryAfter ?? 1 };
  return t.problems[kind as keyof typeof t.problems].replace(/\{(\w+)\}/g, (_, name: string) => String(held[name] ?? ""));
}

function refusalInWords({ status, message: said, problem, retryAfter }: HttpError): string {
  const known = problemInWords(problem, retryAfter);
  const message = known ?? said;
  const told = known !== null || (typeof problem.detail === "string" && problem.detail !== "");
  switch (status) {
    case 401:
      return invitation() ? t.errors.expired : t.errors.byInvitation;
    case 403:
      return known ?? (told && !invitation() ? message : t.errors.notAllowed(told ? message : ""));
    case 429:
      return told ? message : t.errors.tooOften;
    case 503:
      return told ? message : t.errors.full;
    default:
      return message;
  }
}
