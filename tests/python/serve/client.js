// OpenAI's client for Node.js against a server: node client.js URL KEY. Prints one JSON object.
const { OpenAI, toFile } = require("openai");

async function main([baseURL, apiKey]) {
  const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
  const found = {};
  const messages = [{ role: "user", content: "Show me a red circle moving left" }];

  found.models = [];
  for await (const model of client.models.list()) found.models.push(model.id);

  const whole = await client.chat.completions.create({ model: "tiny", messages, temperature: 0, seed: 1 });
  found.content = whole.choices[0].message.content;
  found.videos = whole.choices[0].message.videos;

  const stream = await client.chat.completions.create({
    model: "tiny", messages, temperature: 0, seed: 1, stream: true, stream_options: { include_usage: true },
  });
  found.streamed = "";
  found.statuses = [];
  for await (const chunk of stream) {
    if (chunk.usage) found.usage = chunk.usage;
    for (const choice of chunk.choices) {
      found.streamed += choice.delta.content ?? "";
      for (const video of choice.delta.videos ?? []) found.statuses.push(video.status);
    }
  }

  const response = await client.videos.downloadContent(found.videos[0].id);
  const bytes = Buffer.from(await response.arrayBuffer());
  found.type = response.headers.get("content-type");
  const file = await client.files.create({ file: await toFile(bytes, "clip.mp4"), purpose: "user_data" });
  found.file = file.bytes === bytes.length;
  const about = await client.chat.completions.create({
    model: "tiny",
    temperature: 0,
    messages: [{
      role: "user",
      content: [{ type: "text", text: "What moves here?" }, { type: "file", file: { file_id: file.id } }],
    }],
  });
  found.about = about.choices[0].message.content;
  found.deleted = (await client.files.delete(file.id)).deleted;

  let made = await client.videos.create({ model: "tiny", prompt: "a red circle moving left" });
  while (made.status === "queued" || made.status === "in_progress") {
    await new Promise((wake) => setTimeout(wake, 50));
    made = await client.videos.retrieve(made.id);
  }
  found.made = made.status;
  found.listed = (await client.videos.list({ limit: 1 })).data.length;

  try {
    await client.chat.completions.create({ model: "tiny", messages, n: 2 });
  } catch (error) {
    found.error = { name: error.constructor.name, code: error.code, param: error.param };
  }
  const left = await client.chat.completions.create({ model: "tiny", messages, stream: true });
  for await (const _ of left) break; // which closes the connection
  console.log(JSON.stringify(found));
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
