import { describe, expect, it } from 'vitest';
import { csrfOf, phoneOf, roleOf, ROLES } from './session.ts';
import { placesOf } from './places.ts';
import { tokenOf } from './track-form.ts';

describe('a phone number', () => {
  it('is the same however a Rwandan writes it', () => {
    for (const typed of [
      '0788123456',
      '788 123 456',
      '+250 788-123-456',
      '00250788123456',
      '250788123456',
    ]) {
      expect(phoneOf(typed)).toBe('+250788123456');
    }
  });

  it('of another country needs its plus', () => {
    expect(phoneOf('+260 97 1234567')).toBe('+260971234567');
    expect(phoneOf('0971234567')).toBeNull();
  });

  it('is not a word', () => {
    for (const typed of ['', 'abc', '078812345', '07881234567', '+'])
      expect(phoneOf(typed)).toBeNull();
  });
});

describe('the answer to a log-in', () => {
  it('names the role at the top or under user', () => {
    expect(roleOf({ role: 'operator' })).toBe('operator');
    expect(roleOf({ user: { role: 'driver' } })).toBe('driver');
    expect(roleOf(null)).toBe('customer');
    expect(roleOf({ role: 'emperor' })).toBe('customer');
  });

  it('gives every role a door', () => {
    for (const role of ROLES) expect(placesOf(role).length).toBeGreaterThan(0);
  });
});

it('reads the token that a page repeats', () => {
  expect(csrfOf('a=1; inzira_csrf=abc; b=2')).toBe('abc');
  expect(csrfOf('xinzira_csrf=abc')).toBe('');
});

describe('a pasted link', () => {
  it('gives its token', () => {
    expect(tokenOf('https://inzira.rw/t/abcDEF_123-x')).toBe('abcDEF_123-x');
    expect(tokenOf(' /t/abcdefgh?x=1 ')).toBe('abcdefgh');
    expect(tokenOf('https://inzira.rw/login')).toBeNull();
    expect(tokenOf('javascript:alert(1)')).toBeNull();
  });
});
