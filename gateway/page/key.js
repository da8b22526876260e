// The API key, if the person gave one. A browser that was let into `/docs` sends its own credentials instead.

const NAME = "warmgate-key";

export function hasKey() {
  return sessionStorage.getItem(NAME) !== null;
}

export function keepKey(key) {
  sessionStorage.setItem(NAME, key);
}

export function forgetKey() {
  sessionStorage.removeItem(NAME);
}

/** Return the headers that a request needs. */
export function authorization() {
  const key = sessionStorage.getItem(NAME);
  return key === null ? {} : { authorization: `Bearer ${key}` };
}
