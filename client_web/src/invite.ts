import { invitation, type Access } from "./access";
import { byId, el } from "./dom";
import { getJson, inWords } from "./http";
import { icon } from "./icons";
import { nameProblem } from "./names";
import { language, t } from "./strings";

const MINUTES = 60;
const TOLD_MS = 1500;

/** The page's link into a room; with a token it lets its holder in. */
export function inviteLink(room: string, token?: string): string {
  return `${location.origin}/?${new URLSearchParams({ room })}${token === undefined ? "" : `#${new URLSearchParams({ token })}`}`;
}

/**
 * The call's button that brings others in: it copies the room's link where that lets everybody in, makes an invitation
 * for one name where the user may, and otherwise says who may.
 */
export class InviteButton {
  readonly dialog = el("dialog", { class: "panel", "aria-labelledby": "invite-title" });
  private readonly text = el("span");
  private readonly message = el("p", { class: "message", role: "status" });

  constructor(
    private readonly room: string,
    access: Access,
  ) {
    const free = !access.tokens && !invitation();
    const button = byId("invite");
    this.text.textContent = free ? t.invite.copy : t.invite.short;
    button.replaceChildren(icon("link"), this.text);
    button.setAttribute("aria-label", free ? t.invite.copyLong : t.invite.title);
    button.onclick = () => void (free ? this.copyRoom() : this.open());
  }

  close(): void {
    this.dialog.close();
    this.dialog.remove();
  }

  private async copyRoom(): Promise<void> {
    const link = inviteLink(this.room);
    if (!(await copied(link))) return void prompt(t.invite.link, link);
    this.text.textContent = t.invite.copied;
    setTimeout(() => (this.text.textContent = t.invite.copy), TOLD_MS);
  }

  private open(): void {
    const close = el("button", { type: "button", class: "plain", "aria-label": t.close }, [icon("close")]);
    close.addEventListener("click", () => this.dialog.close());
    this.say("");
    this.dialog.replaceChildren(
      el("header", {}, [el("h2", { id: "invite-title" }, [t.invite.title]), close]),
      ...(invitation()?.admin ? [this.form(), this.message] : [this.whoMay()]),
    );
    this.dialog.showModal();
  }

  private whoMay(): HTMLElement {
    return el("p", { class: "hint" }, [t.invite.whoMay]);
  }

  private form(): HTMLElement {
    const name = el("input", { id: "invite-name", maxlength: "64", autocomplete: "off", spellcheck: "false" });
    const link = el("input", { id: "invite-link", readonly: "", "aria-label": t.invite.theLink, hidden: "" });
    const send = el("button", { type: "submit", class: "primary" }, [t.invite.send]);
    const form = el("form", {}, [
      el("label", { for: "invite-name" }, [t.invite.whom]),
      name,
      send,
      link,
    ]);
    form.noValidate = true;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const invited = name.value.trim();
      const problem = nameProblem(invited, t.names.any);
      if (problem) return this.say(problem, true);
      send.disabled = true;
      try {
        const { token, expires_at } = await this.mint(invited);
        link.value = inviteLink(this.room, token);
        link.hidden = false;
        link.select();
        const done = (await copied(link.value)) ? t.invite.done : t.invite.copyIt;
        const end = new Date(expires_at).toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit" });
        this.say(t.invite.letsIn(done, invited, end));
      } catch (error) {
        this.say(inWords(error), true);
      } finally {
        send.disabled = false;
      }
    });
    return form;
  }

  /** No longer than one's own invitation, whatever is asked. */
  private mint(name: string): Promise<{ token: string; expires_at: string }> {
    return getJson("/api/tokens", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ room: this.room, name, publish: true, watch: true, minutes: MINUTES }),
    });
  }

  private say(words: string, bad = false): void {
    this.message.textContent = words;
    this.message.classList.toggle("bad", bad);
  }
}

async function copied(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // plain http, or not allowed
  }
}
