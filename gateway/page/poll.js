// Asks again and again, but only while somebody looks: an open page must not keep a server from scaling to zero.

const IDLE_MS = 5 * 60_000; // without a sign of the person, before it stops by itself
const SIGNS = ["pointerdown", "pointermove", "keydown", "scroll"];

export class Poll {
  /**
   * @param {() => Promise<void>} ask Asks once. Never called while it still runs.
   * @param {number} everyMs From one answer to the next question.
   * @param {(isLive: boolean) => void} onChange Told when it pauses and when it goes on.
   */
  constructor(ask, everyMs, onChange) {
    this.ask = ask;
    this.everyMs = everyMs;
    this.onChange = onChange;
    this.isOn = true; // as the person wants it
    this.isLive = false; // as it is
    this.isAsking = false;
    this.isWanted = false; // whether to ask once more
    this.timer = undefined;
    this.seen = Date.now();
    document.addEventListener("visibilitychange", () => this.settle());
    for (const sign of SIGNS) addEventListener(sign, () => this.noteSign(), { passive: true });
  }

  turn(on) {
    this.isOn = on;
    this.seen = Date.now();
    this.settle();
  }

  /** Ask now, whatever the clock says; once more, if an answer is under way to what was asked before. */
  async now() {
    this.isWanted = true;
    if (this.isAsking) return;
    clearTimeout(this.timer);
    this.isAsking = true;
    try {
      while (this.isWanted) {
        this.isWanted = false;
        await this.ask();
      }
    } finally {
      this.isAsking = false;
      if (this.isLive) this.timer = setTimeout(() => this.tick(), this.everyMs);
    }
  }

  tick() {
    this.settle();
    if (this.isLive) this.now();
  }

  noteSign() {
    this.seen = Date.now();
    if (!this.isLive) this.settle();
  }

  settle() {
    const isLive = this.isOn && !document.hidden && Date.now() - this.seen < IDLE_MS;
    if (isLive === this.isLive) return;
    this.isLive = isLive;
    this.onChange(isLive);
    if (isLive) this.now();
    else clearTimeout(this.timer);
  }
}
