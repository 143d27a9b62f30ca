/** An HTTP answer that is an error; the message is the RFC 9457 problem body's detail where there is one. */
export class HttpError extends Error {
  constructor(
    readonly status: number,
    message: string,
    /** The problem body, with whatever members it has. */
    readonly problem: Readonly<Record<string, unknown>> = {},
  ) {
    super(message);
    this.name = "HttpError";
  }
}

export async function errorOf(response: Response): Promise<HttpError> {
  const fallback = `The server answered ${response.status} ${response.statusText}`.trim();
  if ((response.headers.get("Content-Type") ?? "").includes("json")) {
    try {
      const problem = (await response.json()) as Record<string, unknown> | null;
      const words = problem?.detail ?? problem?.title;
      return new HttpError(response.status, typeof words === "string" && words ? words : fallback, problem ?? {});
    } catch {
      // a broken body says no more than the status line
    }
  }
  return new HttpError(response.status, fallback);
}

/** A JSON answer; throws HttpError for an error status. */
export async function getJson<T>(url: string, init?: RequestInit): Promise<T> {
  const response = await fetch(url, init);
  if (!response.ok) throw await errorOf(response);
  return (await response.json()) as T;
}

/** What went wrong, in words that a person can act on. */
export function inWords(error: unknown): string {
  if (error instanceof HttpError) return error.message;
  // fetch rejects with a TypeError when there is no answer at all
  if (error instanceof TypeError) return "The server cannot be reached.";
  if (error instanceof Error && error.message) return error.message;
  return String(error);
}
