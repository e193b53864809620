/** Programs in a stack thread: loaded, run, ended; turns of the stack meanwhile. */
import { MessageChannel } from 'node:worker_threads';
import { expect } from 'chai';
import { hostOf } from '../../src/socket/uapi/host.js';
import { G_GUESTS, G_STOP } from '../../src/socket/uapi/layout.js';
import { setArena } from '../../src/socket/uapi/shared.js';
import { type GuestEnd, type GuestOrder, InlineHost } from '../../src/stack/inline-host.js';
import type { Pump } from '../../src/stack/pump.js';
import { inlineStack } from './inline-stack.js';

declare global {
  /** What the modules of these tests reach. */
  var inlineTest: { world: World; said: unknown[] };
}

/** A host around a pump that only counts. */
class World {
  readonly ctl: Int32Array = inlineStack(64).shared.ctl;
  readonly ends: GuestEnd[] = [];
  readonly said: unknown[] = [];
  readonly host: InlineHost;
  turns = 0;
  rests = 0;
  onTurn: () => void = () => {};
  private order: GuestOrder | null = null;
  private readonly ports = new MessageChannel();

  constructor() {
    setArena(this.ctl, 0x7f00_0000_3000, 4096);
    globalThis.inlineTest = { world: this, said: this.said };
    const world = this;
    const pump = {
      get asked() {
        return world.ctl[G_STOP] !== 0;
      },
      runOnce: () => {
        this.turns++;
        this.onTurn();
        return false;
      },
      rest: () => this.rests++,
      beforeRest: () => 1000,
      afterRest: () => {},
    };
    this.host = new InlineHost({
      ctl: this.ctl,
      queue: 0,
      globals: 0,
      arena: new Uint8Array(0),
      pump: pump as unknown as Pump,
      waitAsync: () => Promise.resolve(),
      wake: () => {},
      take: () => this.order!,
      post: (end) => this.ends.push(structuredClone(end)),
    });
  }

  /** Runs a module with this body of `main(data, port)`. */
  async run(body: string, head = 'export function main'): Promise<void> {
    const text = `const { world, said } = globalThis.inlineTest;\n${head}(data, port) {${body}}`;
    const module = `data:text/javascript,${encodeURIComponent(`${text}\n// ${Math.random()}`)}`;
    this.order = { id: 7, module, data: 'data', port: this.ports.port2 };
    Atomics.add(this.ctl, G_GUESTS, 1);
    expect(this.host.called).to.equal(true);
    try {
      await this.host.run();
    } finally {
      this.ports.port1.close();
    }
    expect(this.host.called).to.equal(false);
  }
}

describe('stack/inline-host', () => {
  it('runs main while the thread is the host, and the stack while it loads', async () => {
    const world = new World();
    await world.run('said.push(data, world.host.turn(), world.host.rest(5))');
    expect(world.said.slice(0, 2)).to.deep.equal(['data', false]);
    expect(world.turns).to.be.above(1);
    expect(world.rests).to.equal(1);
    expect(world.ends).to.deep.equal([{ event: 'ended', id: 7, error: null }]);
    expect(hostOf(world.ctl)).to.equal(null);
  });

  it('what a program throws is its end, not that of the stack', async () => {
    const world = new World();
    await world.run("throw new RangeError('too much')");
    expect(world.ends[0]!.error).to.be.instanceOf(RangeError).with.property('message', 'too much');
    const strange = new World();
    await strange.run('throw () => 1');
    expect(strange.ends[0]!.error).to.be.instanceOf(Error);
    const nothing = new World();
    await nothing.run('throw undefined');
    expect(nothing.ends[0]!.error).to.be.instanceOf(Error);
  });

  it('a module without main is an error', async () => {
    const world = new World();
    await world.run('', 'export function other');
    expect(String(world.ends[0]!.error)).to.contain('exports no function main');
  });

  it('a program on the event loop has turns of the stack between its callbacks', async () => {
    const world = new World();
    await world.run(`
      world.turns = 0;
      return new Promise((resolve) => {
        let rounds = 0;
        const again = () => (++rounds < 5 ? setImmediate(again) : resolve());
        again();
      });`);
    expect(world.turns).to.be.above(3);
    expect(world.ends[0]!.error).to.equal(null);
  });

  it('a promise that is rejected ends the program with that error', async () => {
    const world = new World();
    await world.run("throw new Error('later')", 'export async function main');
    expect(world.ends[0]!.error).to.have.property('message', 'later');
  });

  it('turns do not nest', async () => {
    const world = new World();
    world.onTurn = () => {
      world.onTurn = () => {};
      expect(() => world.host.turn()).to.throw('cannot begin inside another');
      world.said.push('looked');
    };
    await world.run('world.host.turn()');
    expect(world.said).to.deep.equal(['looked']);
  });

  it('what a turn throws ends the stack, whatever the program makes of it', async () => {
    const world = new World();
    let caught: unknown = null;
    try {
      await world.run(`
        world.onTurn = () => { throw new Error('assertion'); };
        try { world.host.turn(); } catch { said.push('swallowed'); }
        try { world.host.turn(); } catch { said.push('again'); }`);
    } catch (error) {
      caught = error;
    }
    expect(caught).to.have.property('message', 'assertion');
    expect(world.said).to.deep.equal(['swallowed', 'again']);
    expect(world.ends).to.deep.equal([]);
  });

  it('a program that lives when the stack is to end is left, and its failure is none', async () => {
    const world = new World();
    await world.run(`
      setImmediate(() => Atomics.store(world.ctl, ${G_STOP}, 1));
      return new Promise(() => {});`);
    expect(world.ends).to.deep.equal([{ event: 'ended', id: 7, error: null }]);
  });
});
