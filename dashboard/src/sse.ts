// Sse: messages of a server-sent event stream out of text that comes in pieces.
// It must not know where the text comes from.

export interface Message {
  id: string;
  event: string;
  data: string;
}

export class SseReader {
  private rest = "";
  private id = "";

  /** The messages that `text` completes, also those that carry a new id and no data. */
  push(text: string): Message[] {
    this.rest += text;
    const parts = this.rest.split("\n\n");
    this.rest = parts.pop() ?? "";
    return parts.flatMap((part) => this.read(part));
  }

  private read(part: string): Message[] {
    let event = "message";
    let said = false;
    const data: string[] = [];
    for (const line of part.split("\n")) {
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "id") this.id = value;
      else if (field === "event") event = value;
      else if (field === "data") data.push(value);
      if (field === "id" || field === "data") said = true;
    }
    return said ? [{ id: this.id, event, data: data.join("\n") }] : [];
  }
}
