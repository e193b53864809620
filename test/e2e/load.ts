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
  async serves(more: number): Promise<void> {
    const enough = this.result.served + more;
    while (this.result.served < enough) await new Promise((resolve) => setTimeout(resolve, 5));
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
      if (text.endsWith('\r\n\r\nOK')) this.result.served++;
      else this.result.failures.push(text.slice(0, 60));
    } catch (error) {
      this.result.failures.push(String((error as NodeJS.ErrnoException).code));
    }
  }
}
