// Following work: the server draws, the WebSocket says when to look again, and when there is no
// WebSocket the page looks by itself. A gap in the numbers heals because looking shows all.

export class Follower {
  constructor({ path, after, onEvent, onChange }) {
    this.path = path;
    this.seq = after;
    this.onEvent = onEvent ?? (() => {});
    this.onChange = onChange;
    this.wait = 500;
    this.closed = false;
    this.connect();
    this.poll = setInterval(() => {
      if (!this.open) this.changed();
    }, 2000);
  }

  connect() {
    if (this.closed) return;
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const after = this.seq === undefined ? "" : `?after=${this.seq}`;
    this.socket = new WebSocket(`${scheme}://${location.host}${this.path}${after}`);
    this.socket.addEventListener("open", () => {
      this.open = true;
      this.wait = 500;
    });
    this.socket.addEventListener("message", ({ data }) => {
      const message = JSON.parse(data);
      if (typeof message.seq === "number") this.seq = message.seq;
      this.onEvent(message);
      this.changed();
    });
    this.socket.addEventListener("close", ({ code }) => {
      this.open = false;
      // 44xx: signed out, or not ours any more. Looking again tells which.
      if (code < 4400 && !this.closed) {
        setTimeout(() => this.connect(), this.wait);
        this.wait = Math.min(this.wait * 2, 10000);
      }
    });
  }

  changed() {
    if (this.closed) return;
    if (this.pending) {
      this.again = true;
      return;
    }
    this.pending = setTimeout(async () => {
      await this.onChange();
      this.pending = undefined;
      if (this.again) {
        this.again = false;
        this.changed();
      }
    }, 80);
  }

  stop() {
    this.closed = true;
    clearInterval(this.poll);
    clearTimeout(this.pending);
    this.socket?.close();
  }
}

export async function fragment(url, target) {
  const response = await fetch(url, {
    headers: { "HX-Request": "true", "HX-Target": target },
    credentials: "same-origin",
  });
  if (!response.ok || response.redirected) throw new Error(`fragment: ${response.status}`);
  return response.text();
}

// Puts new markup in place of the old without taking away where a person is: the control with the
// focus, and what they opened.
export function swap(root, html) {
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  for (const part of root.querySelectorAll("details[id][open]")) {
    fresh.content.getElementById(part.id)?.setAttribute("open", "");
  }
  const focused = root.contains(document.activeElement) ? document.activeElement : null;
  const again = focused && same(focused);
  root.replaceChildren(fresh.content);
  if (again) root.querySelector(again)?.focus({ preventScroll: true });
}

function same(element) {
  const name = element.localName;
  if (element.id) return `#${CSS.escape(element.id)}`;
  if (name === "button" && element.value) return `button[value="${CSS.escape(element.value)}"]`;
  if (name === "a") return `a[href="${CSS.escape(element.getAttribute("href"))}"]`;
  if (name === "summary") return `#${CSS.escape(element.parentElement.id)} > summary`;
  return null;
}

// Seconds as a clock counts them, like the server's own filter.
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const minutes = Math.floor(whole / 60);
  return minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}
