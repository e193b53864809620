/**
 * `tunstack doctor`: can this machine run the stack, and what to type if not. The looking is
 * device/doctor.ts's.
 */
import { type DoctorCheck, type DoctorReport, diagnose } from '../device/doctor.js';
import { type Command, EXIT_OK, EXIT_PRIVILEGE, type Io } from './command.js';
import { type Flag, flagHelp, HELP_FLAG, parseFlags } from './flags.js';

const FLAGS: readonly Flag[] = [
  { name: 'tun', value: 'NAME', text: 'device to ask about (tunstack0)' },
  { name: 'address', value: 'CIDR', text: "the stack's address (198.18.0.1/24)" },
  { name: 'peer', value: 'IP', text: "the host's address on the device (198.18.0.254)" },
  { name: 'json', text: 'the report as one JSON object' },
  HELP_FLAG,
];

const GREEN = '\u001b[32m';
const RED = '\u001b[31m';
const YELLOW = '\u001b[33m';
const PLAIN = '\u001b[0m';

/** The report as lines; the remedy under each check that has one. */
export function doctorLines(report: DoctorReport, color: boolean): string[] {
  const width = Math.max(...report.checks.map((check) => check.name.length)) + 2;
  const lines: string[] = [];
  for (const check of report.checks) {
    lines.push(`${mark(check, color)}  ${check.name.padEnd(width)}${check.detail}`);
    for (const line of check.remedy?.split('\n') ?? []) lines.push(`      ${line}`);
  }
  lines.push(report.ok ? 'tunstack serve can run here.' : 'tunstack serve cannot run here yet.');
  return lines;
}

function mark(check: DoctorCheck, color: boolean): string {
  const [word, paint] = check.ok ? ['ok', GREEN] : check.required ? ['NO', RED] : ['--', YELLOW];
  return color ? `${paint}${word}${PLAIN}` : word;
}

export const doctor: Command = {
  name: 'doctor',
  summary: 'checks what this machine allows and prints the fix',
  async run(argv: readonly string[], io: Io): Promise<number> {
    const flags = parseFlags('doctor', FLAGS, argv);
    if (flags.given.has('help')) {
      io.out(`tunstack doctor [FLAGS]: checks what this machine allows\n\n${flagHelp(FLAGS)}`);
      return EXIT_OK;
    }
    const options: { tun?: string; address?: string; peer?: string } = {};
    for (const name of ['tun', 'address', 'peer'] as const) {
      const value = flags.values.get(name);
      if (value !== undefined) options[name] = value;
    }
    const report = diagnose(options);
    if (flags.given.has('json')) io.out(JSON.stringify(report));
    else for (const line of doctorLines(report, io.color)) io.out(line);
    return report.ok ? EXIT_OK : EXIT_PRIVILEGE;
  },
};
