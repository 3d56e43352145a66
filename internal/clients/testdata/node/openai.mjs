// The official client, driven by lines of JSON: a request in, what came of it out.
import OpenAI from 'openai';
import { serve } from './serve.mjs';

const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.API_KEY });

serve(async ({ op, headers, ...body }, result) => {
  if (op === 'models') {
    for await (const model of client.models.list()) result.models.push(model.id);
    return;
  }
  if (op === 'model') {
    result.text = (await client.models.retrieve(body.model)).id;
    return;
  }
  const { data, response } = await client.chat.completions.create(body, { headers }).withResponse();
  result.thread = response.headers.get('chatmux-thread');
  if (!body.stream) {
    result.text = data.choices[0].message.content;
    result.finish = data.choices[0].finish_reason;
    result.total = data.usage.total_tokens;
    return;
  }
  for await (const chunk of data) {
    if (chunk.usage) result.total = chunk.usage.total_tokens;
    if (!chunk.choices.length) continue;
    const { delta, finish_reason: finish } = chunk.choices[0];
    result.pieces += delta.content ? 1 : 0;
    result.text += delta.content ?? '';
    result.finish = finish ?? result.finish;
  }
});
