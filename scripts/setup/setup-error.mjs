/**
 * A set-up that cannot go on: what and why in `message`, what to type next in `remedy`. Not for
 * programming errors.
 */
export class SetupError extends Error {
  /** @param {string} message @param {string} remedy one or more lines, without a final line end */
  constructor(message, remedy) {
    super(message);
    this.name = 'SetupError';
    this.remedy = remedy;
  }
}

/** The error as lines for stderr. */
export function setupErrorText(error) {
  const remedy = error.remedy
    .split('\n')
    .map((line) => `  ${line}\n`)
    .join('');
  return `tunstack: ${error.message}\n${remedy}`;
}
