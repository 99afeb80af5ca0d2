/**
 * Logging in and out.
 *
 * In:    a phone number and a password.
 * Out:   the role, or which of the known ways it went wrong.
 * Keeps: only the role, to show the right doors after a reload; the session is an HttpOnly cookie.
 * Never: keeps the password or a token where a script could read it.
 */
import { isRecord, text } from '../../live/frames.ts';

export const ROLES = [
  'customer',
  'agent',
  'driver',
  'vendor',
  'operator',
  'admin',
  'analyst',
  'engineer',
  'government',
] as const;
export type Role = (typeof ROLES)[number];

export type LoginEnd =
  { done: Role } | { failed: 'wrong' | 'service' | 'network' } | { failed: 'limit'; waitS: number };

const TIMEOUT_MS = 20_000;
const WAIT_UNSAID_S = 60;
const STORED_AS = 'inzira-role';

export async function logIn(phone: string, password: string): Promise<LoginEnd> {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), TIMEOUT_MS);
  try {
    const response = await fetch('/api/v1/auth/login', {
      method: 'POST',
      credentials: 'same-origin',
      signal: stop.signal,
      headers: { 'content-type': 'application/json', accept: 'application/json' },
      body: JSON.stringify({ phone, password }),
    });
    return await endOf(response);
  } catch {
    return { failed: 'network' };
  } finally {
    clearTimeout(timer);
  }
}

async function endOf(response: Response): Promise<LoginEnd> {
  if (response.ok) {
    const role = roleOf(await response.json().catch(() => null));
    keepRole(role);
    return { done: role };
  }
  if (response.status === 429) {
    const said = Number(response.headers.get('retry-after'));
    return { failed: 'limit', waitS: said > 0 ? said : WAIT_UNSAID_S };
  }
  return { failed: response.status >= 500 ? 'service' : 'wrong' };
}

/** The answer may carry the role at the top or under `user`; without one, a customer's doors. */
export function roleOf(answer: unknown): Role {
  const body = isRecord(answer) ? answer : {};
  const user = isRecord(body.user) ? body.user : {};
  const said = text(body.role) ?? text(user.role);
  return ROLES.find((role) => role === said) ?? 'customer';
}

export async function logOut(): Promise<void> {
  keepRole(null);
  try {
    await fetch('/api/v1/auth/logout', {
      method: 'POST',
      credentials: 'same-origin',
      headers: { 'x-csrf-token': csrfOf(document.cookie) },
    });
  } catch {
    // The cookie then ends by its own time; this browser shows the way in again.
  }
}

/** The token beside the session, which a page repeats in a header to prove that it is ours. */
export function csrfOf(cookies: string): string {
  return /(?:^|;\s*)inzira_csrf=([^;]*)/.exec(cookies)?.[1] ?? '';
}

export function recallRole(): Role | null {
  try {
    const said = sessionStorage.getItem(STORED_AS);
    return ROLES.find((role) => role === said) ?? null;
  } catch {
    return null;
  }
}

function keepRole(role: Role | null): void {
  try {
    if (role) sessionStorage.setItem(STORED_AS, role);
    else sessionStorage.removeItem(STORED_AS);
  } catch {
    // Then a reload asks to log in again.
  }
}

/**
 * A phone number as the service knows it: `0788123456`, `788 123 456` and `+250 788-123-456` are the
 * same. Numbers of other countries need their `+`. Null when it cannot be one.
 */
export function phoneOf(typed: string): string | null {
  const digits = typed.replace(/[\s().-]/g, '');
  const rwandan = /^(?:\+?250|00250|0)?(7\d{8})$/.exec(digits);
  if (rwandan) return `+250${rwandan[1] ?? ''}`;
  return /^\+[1-9]\d{7,14}$/.test(digits) ? digits : null;
}
