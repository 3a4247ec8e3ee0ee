// An HTTP client that tries again when a request fails for a reason that may pass.

export interface RetryOptions {
  attempts: number;
  initialDelayMs: number;
  maximumDelayMs: number;
  timeoutMs: number;
  retryableStatuses: number[];
}

export interface RequestOptions {
  method?: string;
  headers?: Record<string, string>;
  body?: unknown;
  signal?: AbortSignal;
}

export const DEFAULT_OPTIONS: RetryOptions = {
  attempts: 4,
  initialDelayMs: 200,
  maximumDelayMs: 5_000,
  timeoutMs: 10_000,
  retryableStatuses: [408, 425, 429, 500, 502, 503, 504],
};

export class HttpError extends Error {
  constructor(
    readonly status: number,
    readonly url: string,
    readonly retryAfter: string | null,
  ) {
    super(`${url} answered with status ${status}`);
    this.name = "HttpError";
  }
}

export class TimeoutError extends Error {
  constructor(url: string, timeoutMs: number) {
    super(`${url} did not answer within ${timeoutMs} ms`);
    this.name = "TimeoutError";
  }
}

function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

function parseRetryAfter(value: string | null): number | undefined {
  if (value === null) {
    return undefined;
  }
  const seconds = Number(value);
  if (Number.isFinite(seconds)) {
    return seconds * 1000;
  }
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}

export class RetryClient {
  private readonly options: RetryOptions;

  constructor(
    private readonly baseUrl: string,
    options: Partial<RetryOptions> = {},
  ) {
    this.options = { ...DEFAULT_OPTIONS, ...options };
    if (this.options.attempts < 1) {
      throw new RangeError("attempts must be at least 1");
    }
  }

  get<T>(path: string, options: RequestOptions = {}): Promise<T> {
    return this.request<T>(path, { ...options, method: "GET" });
  }

  post<T>(path: string, body: unknown, options: RequestOptions = {}): Promise<T> {
    return this.request<T>(path, { ...options, method: "POST", body });
  }

  async delete(path: string, options: RequestOptions = {}): Promise<void> {
    await this.request<unknown>(path, { ...options, method: "DELETE" });
  }

  async request<T>(path: string, options: RequestOptions = {}): Promise<T> {
    const url = new URL(path, this.baseUrl).toString();
    let lastError: unknown;
    for (let attempt = 0; attempt < this.options.attempts; attempt++) {
      if (attempt > 0) {
        await sleep(this.delayBefore(attempt, lastError), options.signal);
      }
      try {
        const response = await this.send(url, options);
        if (response.status === 204) {
          return undefined as T;
        }
        return (await response.json()) as T;
      } catch (error) {
        lastError = error;
        if (!this.isRetryable(error) || options.signal?.aborted) {
          throw error;
        }
      }
    }
    throw lastError;
  }

  private async send(url: string, options: RequestOptions): Promise<Response> {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), this.options.timeoutMs);
    try {
      const response = await fetch(url, {
        method: options.method ?? "GET",
        headers: { "Content-Type": "application/json", ...options.headers },
        body: options.body === undefined ? undefined : JSON.stringify(options.body),
        signal: controller.signal,
      });
      if (!response.ok) {
        throw new HttpError(response.status, url, response.headers.get("Retry-After"));
      }
      return response;
    } catch (error) {
      if (controller.signal.aborted) {
        throw new TimeoutError(url, this.options.timeoutMs);
      }
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  private isRetryable(error: unknown): boolean {
    if (error instanceof HttpError) {
      return this.options.retryableStatuses.includes(error.status);
    }
    return error instanceof TimeoutError || error instanceof TypeError;
  }

  private delayBefore(attempt: number, error: unknown): number {
    if (error instanceof HttpError) {
      const wait = parseRetryAfter(error.retryAfter);
      if (wait !== undefined) {
        return Math.min(wait, this.options.maximumDelayMs);
      }
    }
    const exponential = this.options.initialDelayMs * 2 ** (attempt - 1);
    const jitter = Math.random() * this.options.initialDelayMs;
    return Math.min(exponential + jitter, this.options.maximumDelayMs);
  }
}
