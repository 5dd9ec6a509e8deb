// The published JavaScript library as a peer: one JSON command a line on standard input, one answer a line back.
// {"do": "verify", "secret", "body", "headers"} -> {"event"} or {"error"}; {"do": "sign", "secret", "id", "at", "body"} -> {"signature"}
import { createInterface } from "node:readline";
import { Webhook } from "standardwebhooks";

for await (const line of createInterface({ input: process.stdin })) {
  const said = JSON.parse(line);
  let answer;
  try {
    const webhook = new Webhook(said.secret);
    answer =
      said.do === "sign"
        ? { signature: webhook.sign(said.id, new Date(said.at * 1000), said.body) }
        : { event: webhook.verify(said.body, said.headers) };
  } catch (error) {
    answer = { error: String(error.message) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
