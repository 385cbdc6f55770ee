// Calls of a generated TypeScript client: `node calls.js ADDRESS KEY SAMPLES ITEMS`; writes what it saw as JSON.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import createClient from "openapi-fetch";

import type { components, paths } from "./schema.js";

type EventPage = components["schemas"]["EventPage"];
type StatusEvent = components["schemas"]["StatusEvent"];

const [address, key, samples, items] = process.argv.slice(2) as [string, string, string, string];
const client = createClient<paths>({ baseUrl: address, headers: { Authorization: `Bearer ${key}` } });

const uploaded = await client.POST("/v1/datasets", {
  body: { samples: readFileSync(samples, "utf8"), items: readFileSync(items, "utf8"), name: "from TypeScript" },
  bodySerializer(body) {
    const form = new FormData();
    form.set("samples", new Blob([body.samples ?? ""]), "samples.jsonl");
    form.set("items", new Blob([body.items ?? ""]), "items.jsonl");
    form.set("name", body.name ?? "");
    return form;
  },
});
assert(uploaded.data, JSON.stringify(uploaded.error));
const dataset = uploaded.data;
const named = await client.GET("/v1/datasets", { params: { query: { name: "from TypeScript" } } });
assert.deepEqual(named.data?.data.map((row) => row.id), [dataset.id]);

const created = await client.POST("/v1/selections", {
  body: { dataset_id: dataset.id, model: { source: "local", id: "tiny" }, size: 6, metadata: { run: "typescript" } },
});
assert(created.data, JSON.stringify(created.error));
const path = { selection_id: created.data.id };
for (const [run, found] of [["typescript", [created.data.id]], ["other", []]] as const) {
  const listed = await client.GET("/v1/selections", { params: { query: { metadata: { run } } } });
  assert.deepEqual(listed.data?.data.map((row) => row.id), found);
}
const read = await client.GET("/v1/selections/{selection_id}", { params: { path } });
assert.equal(read.data?.request.rollouts?.group_size, 4);
const events = await client.GET("/v1/selections/{selection_id}/events", { params: { path } });
// The route also answers with text, to who accepts text/event-stream.
const event = (events.data as EventPage).data[0] as StatusEvent;
assert.equal(event.data.status, "queued");
const refused = await client.POST("/v1/training_jobs", { body: { selection_id: created.data.id } });
assert(refused.error);

const cancelled = await client.POST("/v1/selections/{selection_id}/cancel", { params: { path } });
const deleted = await client.DELETE("/v1/selections/{selection_id}", { params: { path } });
assert.equal(deleted.response.status, 204);
const gone = await client.GET("/v1/selections/{selection_id}", { params: { path } });
assert(gone.error);
const dropped = await client.DELETE("/v1/datasets/{dataset_id}", { params: { path: { dataset_id: dataset.id } } });
assert.equal(dropped.data?.id, dataset.id);
const seen = {
  selection: created.data.id,
  status: cancelled.data?.status,
  refused: refused.error.code,
  gone: gone.error.code,
};
process.stdout.write(JSON.stringify(seen));
