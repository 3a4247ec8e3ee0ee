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
import type { ServerCommand } from "./find";
import { capabilityFeature } from "./protocol";

// The server is restarted after at most so many crashes in so many milliseconds.
const MAX_CRASHES = 4;
const CRASH_PERIOD_MS = 3 * 60_000;

export type ServiceState = "missing" | "starting" | "running" | "stopped";

/**
 * A client that leaves the server's commands to commands.ts. The parent class would register them at each start of a
 * server, and VS Code allows only one registration of a command.
 */
class Client extends LanguageClient {
  override registerFeature(feature: StaticFeature | DynamicFeature<unknown>): void {
    const isCommandFeature = "registrationType" in feature && feature.registrationType.method === ExecuteCommandRequest.method;
    if (!isCommandFeature) super.registerFeature(feature);
  }
}

export interface ServiceDependencies {
  output: LogOutputChannel;
  middleware: LanguageClientOptions["middleware"];
  findServer: () => Promise<ServerCommand | undefined>;
  /** Called with each new client before its start. */
  onClientCreated: (client: LanguageClient) => void;
  /** Tells the user that the server cannot be started, or has crashed too often. */
  showError: (sentence: string) => void;
}

export class Service {
  private readonly changed = new EventEmitter<ServiceState>();
  readonly onDidChange = this.changed.event;
  private currentClient: Client | undefined;
  private currentState: ServiceState = "stopped";
  private queue: Promise<void> = Promise.resolve();

  constructor(private readonly dependencies: ServiceDependencies) {}

  get state(): ServiceState {
    return this.currentState;
  }

  /** The client, if it is running. */
  get client(): LanguageClient | undefined {
    return this.currentClient?.isRunning() ? this.currentClient : undefined;
  }

  restart(): Promise<void> {
    return (this.queue = this.queue.then(() => this.stopClient()).then(() => this.startClient()));
  }

  stop(): Promise<void> {
    return (this.queue = this.queue.then(() => this.stopClient()));
  }

  /** Runs a command of the server; undefined if no server is running or the server answers with an error. */
  async run(command: string, args: unknown[] = []): Promise<unknown> {
    try {
      return await this.client?.sendRequest(ExecuteCommandRequest.type, { command, arguments: args });
    } catch (error) {
      this.dependencies.output.warn(`${command}: ${String(error)}`);
      return undefined;
    }
  }

  private async startClient(): Promise<void> {
    this.setState("starting");
    const server = await this.dependencies.findServer();
    if (!server) {
      this.setState("missing");
      return;
    }
    const { command, args, origin } = server;
    this.dependencies.output.info(`Starting ${[command, ...args].join(" ")} (from: ${origin}).`);
    const client = new Client("mercury", "Mercury", { command, args }, this.options());
    client.registerFeature(capabilityFeature);
    client.onDidChangeState(({ newState }) => {
      if (client !== this.currentClient) return;
      if (newState === State.Running) this.setState("running");
      else if (newState === State.Starting) this.setState("starting");
    });
    this.currentClient = client;
    this.dependencies.onClientCreated(client);
    try {
      await client.start();
    } catch (error) {
      this.dependencies.output.error(String(error));
      this.dependencies.showError(`The server does not start with "${command}". The output tells more.`);
      await this.stopClient();
    }
  }

  private options(): LanguageClientOptions {
    const crashTimes: number[] = [];
    const onClosed = (): CloseHandlerResult => {
      crashTimes.push(Date.now());
      while (Date.now() - (crashTimes[0] ?? 0) > CRASH_PERIOD_MS) crashTimes.shift();
      // During the start, `startClient` reports the failure.
      if (this.currentState !== "running") return { action: CloseAction.DoNotRestart, handled: true };
      if (crashTimes.length <= MAX_CRASHES) {
        return { action: CloseAction.Restart, handled: true, message: "The server died; it is started anew." };
      }
      this.setState("stopped");
      this.dependencies.showError(`The server died ${crashTimes.length} times in three minutes, and is not started anew.`);
      return { action: CloseAction.DoNotRestart, handled: true };
    };
    return {
      documentSelector: [{ scheme: "file" }, { scheme: "untitled" }, { notebook: "*" }],
      outputChannel: this.dependencies.output,
      middleware: this.dependencies.middleware,
      errorHandler: { closed: onClosed, error: () => ({ action: ErrorAction.Continue }) },
    };
  }

  private async stopClient(): Promise<void> {
    const stoppedClient = this.currentClient;
    this.currentClient = undefined;
    // A server that has crashed, or is slow to end, must not keep a new server from starting.
    await stoppedClient?.dispose().catch(() => undefined);
    this.setState("stopped");
  }

  private setState(state: ServiceState): void {
    if (state === this.currentState) return;
    this.currentState = state;
    this.changed.fire(state);
  }
}
