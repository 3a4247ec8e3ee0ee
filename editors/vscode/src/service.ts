/**
 * Starts, restarts and stops the server, and restarts it after a crash.
 *
 * Starts and stops are queued, because a language client cannot be stopped while it starts.
 */
import { EventEmitter, type LogOutputChannel } from "vscode";
import {
  CloseAction,
  type CloseHandlerResult,
  type DynamicFeature,
  ErrorAction,
  ExecuteCommandRequest,
  LanguageClient,
  type LanguageClientOptions,
  State,
  type StaticFeature,
} from "vscode-languageclient/node";
import type { Found } from "./find";
import { announcement } from "./protocol";

// The server is restarted after at most so many crashes in so many milliseconds.
const DEATHS = 4;
const WHILE = 3 * 60_000;

export type Life = "missing" | "starting" | "running" | "stopped";

/**
 * A client that leaves the server's commands to commands.ts. The parent class would register them at each start of a
 * server, and VS Code allows only one registration of a command.
 */
class Client extends LanguageClient {
  override registerFeature(feature: StaticFeature | DynamicFeature<unknown>): void {
    const own = "registrationType" in feature && feature.registrationType.method === ExecuteCommandRequest.method;
    if (!own) super.registerFeature(feature);
  }
}

export interface Surroundings {
  output: LogOutputChannel;
  middleware: LanguageClientOptions["middleware"];
  find: () => Promise<Found | undefined>;
  /** Called with each new client before its start. */
  prepare: (client: LanguageClient) => void;
  /** Tells the user that the server cannot be started, or has crashed too often. */
  complain: (sentence: string) => void;
}

export class Service {
  private readonly changed = new EventEmitter<Life>();
  readonly onDidChange = this.changed.event;
  private present: Client | undefined;
  private now: Life = "stopped";
  private queue: Promise<void> = Promise.resolve();

  constructor(private readonly around: Surroundings) {}

  get life(): Life {
    return this.now;
  }

  /** The client, if it is running. */
  get client(): LanguageClient | undefined {
    return this.present?.isRunning() ? this.present : undefined;
  }

  restart(): Promise<void> {
    return (this.queue = this.queue.then(() => this.end()).then(() => this.begin()));
  }

  stop(): Promise<void> {
    return (this.queue = this.queue.then(() => this.end()));
  }

  /** Runs a command of the server; undefined if no server is running or the server answers with an error. */
  async run(command: string, args: unknown[] = []): Promise<unknown> {
    try {
      return await this.client?.sendRequest(ExecuteCommandRequest.type, { command, arguments: args });
    } catch (error) {
      this.around.output.warn(`${command}: ${String(error)}`);
      return undefined;
    }
  }

  private async begin(): Promise<void> {
    this.become("starting");
    const found = await this.around.find();
    if (!found) {
      this.become("missing");
      return;
    }
    const { command, args, origin } = found;
    this.around.output.info(`Starting ${[command, ...args].join(" ")} (from: ${origin}).`);
    const client = new Client("mercury", "Mercury", { command, args }, this.options());
    client.registerFeature(announcement);
    client.onDidChangeState(({ newState }) => {
      if (client !== this.present) return;
      if (newState === State.Running) this.become("running");
      else if (newState === State.Starting) this.become("starting");
    });
    this.present = client;
    this.around.prepare(client);
    try {
      await client.start();
    } catch (error) {
      this.around.output.error(String(error));
      this.around.complain(`The server does not start with "${command}". The output tells more.`);
      await this.end();
    }
  }

  private options(): LanguageClientOptions {
    const deaths: number[] = [];
    const closed = (): CloseHandlerResult => {
      deaths.push(Date.now());
      while (Date.now() - (deaths[0] ?? 0) > WHILE) deaths.shift();
      // During the start, `begin` reports the failure.
      if (this.now !== "running") return { action: CloseAction.DoNotRestart, handled: true };
      if (deaths.length <= DEATHS) {
        return { action: CloseAction.Restart, handled: true, message: "The server died; it is started anew." };
      }
      this.become("stopped");
      this.around.complain(`The server died ${deaths.length} times in three minutes, and is not started anew.`);
      return { action: CloseAction.DoNotRestart, handled: true };
    };
    return {
      documentSelector: [{ scheme: "file" }, { scheme: "untitled" }, { notebook: "*" }],
      outputChannel: this.around.output,
      middleware: this.around.middleware,
      errorHandler: { closed, error: () => ({ action: ErrorAction.Continue }) },
    };
  }

  private async end(): Promise<void> {
    const ending = this.present;
    this.present = undefined;
    // A server that has crashed, or is slow to end, must not keep a new server from starting.
    await ending?.dispose().catch(() => undefined);
    this.become("stopped");
  }

  private become(life: Life): void {
    if (life === this.now) return;
    this.now = life;
    this.changed.fire(life);
  }
}
