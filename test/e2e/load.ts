/**
 * Many short connections from the kernel's own stack, one after the other from several clients at
 * once, until told to stop. Counts; judges nothing.
 */
import { exchange } from './clients.js';

export interface LoadResult {
  served: number;
  /** What each connection failed of: an errno name, or the beginning of a wrong answer. */
  failures: string[];
}

/** A load that runs until `stop`. */
export class Load {
  private readonly result: LoadResult = { served: 0, failures: [] };
  private readonly done: Promise<unknown>;
  private stopping = false;
  /** Calls of `serves` that wait: for how many served connections, and how to tell. */
  private waiting: { enough: number; tell: () => void }[] = [];

  constructor(address: string, port: number, atOnce = 48) {
    const client = async (): Promise<void> => {
      while (!this.stopping) await this.connection(address, port);
    };
    this.done = Promise.all(Array.from({ length: atOnce }, client));
  }

  get served(): number {
    return this.result.served;
  }

  /** Until so many more connections have been served. */
  serves(more: number): Promise<void> {
    const enough = this.result.served + more;
    return new Promise((tell) => {
      this.waiting.push({ enough, tell });
    });
  }

  /** No new connections; what is open is finished. */
  async stop(): Promise<LoadResult> {
    this.stopping = true;
    await this.done;
    return this.result;
  }

  private async connection(address: string, port: number): Promise<void> {
    try {
      const text = await exchange(address, port, '/ok');
      if (text.endsWith('\r\n\r\nOK')) this.noteServed();
      else this.result.failures.push(text.slice(0, 60));
    } catch (error) {
      this.result.failures.push(String((error as NodeJS.ErrnoException).code));
    }
  }
  private noteServed(): void {
    this.result.served++;
    for (const { enough, tell } of this.waiting) if (this.result.served >= enough) tell();
    this.waiting = this.waiting.filter(({ enough }) => this.result.served < enough);
  }
}
