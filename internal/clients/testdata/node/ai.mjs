// The AI SDK with its provider for OpenAI, driven as the official client is.
import { createOpenAI } from '@ai-sdk/openai';
import { generateText, streamText } from 'ai';
import { serve } from './serve.mjs';

const provider = createOpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.API_KEY });

serve(async ({ model, messages, user, stream, headers }, result) => {
  const request = {
    // It knows no x-should-retry, so it must not try again by itself.
    maxRetries: 0,
    model: provider.chat(model), headers,
    instructions: messages.filter((m) => m.role === 'system').map((m) => m.content).join('\n') || undefined,
    messages: messages.filter((m) => m.role !== 'system'),
    providerOptions: user ? { openai: { user } } : {},
  };
  if (!stream) {
    const answer = await generateText(request);
    result.text = answer.text;
    result.finish = answer.finishReason;
    result.thread = answer.response.headers['chatmux-thread'];
    return;
  }
  const answer = streamText({ ...request, onError() {} });
  for await (const part of answer.fullStream) {
    switch (part.type) {
      case 'text-delta':
        result.pieces++;
        result.text += part.text;
        break;
      case 'finish':
        result.finish = part.finishReason;
        break;
      case 'error':
        throw part.error;
    }
  }
  result.thread = (await answer.response).headers['chatmux-thread'];
});
