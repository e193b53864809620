/** Our sockets over the fake system calls, beside kernel sockets on loopback. */
import { createNet } from '../../src/socket/net.js';
import { createFakeNet, HOST } from './fake-sys.js';
import { differentialSuite } from './net-scenarios.js';
import { stackWorld } from './net-world.js';

differentialSuite('in memory', () => stackWorld(createNet(createFakeNet()), HOST));
