/**
 * A mocha reporter: one line per top-level suite, failures in full at the end, and the counts as
 * JSON in the file named by the reporter option `counts`, for the sum over several mocha runs. Does
 * not decide the exit code.
 */
import { writeFileSync } from 'node:fs';
import Mocha from 'mocha';

const { Base } = Mocha.reporters;
const { color, symbols } = Base;
const {
  EVENT_RUN_END,
  EVENT_SUITE_BEGIN,
  EVENT_SUITE_END,
  EVENT_TEST_FAIL,
  EVENT_TEST_PASS,
  EVENT_TEST_PENDING,
} = Mocha.Runner.constants;

export default class CountsReporter extends Base {
  constructor(runner, options) {
    super(runner, options);
    this.countsPath = options?.reporterOptions?.counts;
    this.suite = null;
    runner.on(EVENT_SUITE_BEGIN, (suite) => this.beginSuite(suite));
    runner.on(EVENT_SUITE_END, (suite) => this.endSuite(suite));
    runner.on(EVENT_TEST_PASS, () => this.count('passed'));
    runner.on(EVENT_TEST_PENDING, () => this.count('pending'));
    runner.on(EVENT_TEST_FAIL, (test) => this.fail(test));
    runner.once(EVENT_RUN_END, () => this.finish());
  }

  count(kind) {
    if (this.suite !== null) this.suite[kind] += 1;
  }

  fail(test) {
    this.count('failed');
    process.stdout.write(color('fail', `  ${symbols.err} ${test.fullTitle()}\n`));
  }

  beginSuite(suite) {
    if (suite.parent?.root !== true) return;
    this.suite = { passed: 0, failed: 0, pending: 0, startedMs: performance.now() };
  }

  endSuite(suite) {
    if (suite.parent?.root !== true || this.suite === null) return;
    const { passed, failed, startedMs } = this.suite;
    const good = failed === 0;
    const mark = good ? color('checkmark', symbols.ok) : color('fail', symbols.err);
    const ratio = good ? String(passed) : `${passed} of ${passed + failed}`;
    const tookMs = Math.round(performance.now() - startedMs);
    process.stdout.write(`  ${mark} ${suite.title} (${ratio}) ${color('light', `${tookMs} ms`)}\n`);
    this.suite = null;
  }

  finish() {
    if (this.failures.length > 0) Base.list(this.failures);
    const { passes, failures, pending } = this.stats;
    if (this.countsPath === undefined) return;
    writeFileSync(this.countsPath, JSON.stringify({ passed: passes, failed: failures, pending }));
  }
}
