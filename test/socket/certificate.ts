/**
 * A self-signed certificate for stack.test and its key: for tests on sockets in memory, good for
 * nothing else.
 */
export const CERTIFICATE: string = [
  '-----BEGIN CERTIFICATE-----',
  'MIIBmTCCAT6gAwIBAgIUdVXkB2xKndXHDry962j2h43266MwCgYIKoZIzj0EAwIw',
  'FTETMBEGA1UEAwwKc3RhY2sudGVzdDAgFw0yNjExMjIyMjAwNDZaGA8yMTI2MTAy',
  'OTIyMDA0NlowFTETMBEGA1UEAwwKc3RhY2sudGVzdDBZMBMGByqGSM49AgEGCCqG',
  'SM49AwEHA0IABKmF2UIl+mqjJl82MZE4z/Nr+f+MTwc4B60pkvQPnkIApVobH7t8',
  'th7lcDHtnbGX/wTw77YOD8zetItEmYkk2fijajBoMB0GA1UdDgQWBBTgPdRJbnyy',
  '5YsaFRiWFRBK9rinRDAfBgNVHSMEGDAWgBTgPdRJbnyy5YsaFRiWFRBK9rinRDAP',
  'BgNVHRMBAf8EBTADAQH/MBUGA1UdEQQOMAyCCnN0YWNrLnRlc3QwCgYIKoZIzj0E',
  'AwIDSQAwRgIhAPtuEkK+fzAPinEvCYRn73/ymARhZ3p9ikuORpoX2RZ/AiEAkHWU',
  'bPtDbuntSkWOZ1Hpa+CCC8CMmB/2ymSBnqFbEQg=',
  '-----END CERTIFICATE-----',
].join('\n');

export const PRIVATE_KEY: string = [
  '-----BEGIN PRIVATE KEY-----',
  'MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgmWFF5ql4SXWbcc/F',
  'UuXHwT2r+Klr9naG8Lee6bb1AaahRANCAASphdlCJfpqoyZfNjGROM/za/n/jE8H',
  'OAetKZL0D55CAKVaGx+7fLYe5XAx7Z2xl/8E8O+2Dg/M3rSLRJmJJNn4',
  '-----END PRIVATE KEY-----',
].join('\n');
