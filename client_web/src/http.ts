/** An HTTP answer that is an error; the message is the RFC 9457 problem body's detail where there is one. */
export class HttpError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
    this.name = "HttpError";
  }
}

export async function errorOf(response: Response): Promise<HttpError> {
  const fallback = `The server answered ${response.status} ${response.statusText}`.trim();
  let message = fallback;
  if ((response.headers.get("Content-Type") ?? "").includes("json")) {
    try {
      const problem: unknown = await response.json();
      if (typeof problem === "object" && problem !== null) {
        const { detail, title } = problem as { detail?: unknown; title?: unknown };
        if (typeof detail === "string" && detail) message = detail;
        else if (typeof title === "string" && title) message = title;
      }
    } catch {
      // a broken body says no more than the status line
    }
  }
  return new HttpError(response.status, message);
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
