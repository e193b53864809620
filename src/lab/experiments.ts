/** The experiments by name, in the order in which the list shows them. */
import { churn } from './churn.js';
import { cloudflare } from './cloudflare.js';
import { epollOrder } from './epoll-order.js';
import type { Experiment } from './experiment.js';
import { hash } from './hash.js';
import { herbert } from './herbert.js';
import { lookup } from './lookup.js';
import { models } from './models.js';
import { nginx } from './nginx.js';

export const EXPERIMENTS: readonly Experiment[] = [
  models,
  herbert,
  nginx,
  cloudflare,
  epollOrder,
  churn,
  hash,
  lookup,
];
