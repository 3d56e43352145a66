import { createInterface } from 'node:readline';

// serve answers every line of stdin with one of stdout: what run put into the result, and
// the error that it threw.
export async function serve(run) {
  for await (const line of createInterface({ input: process.stdin })) {
    const result = { text: '', finish: '', thread: '', total: 0, pieces: 0, models: [] };
    try {
      await run(JSON.parse(line), result);
    } catch (e) {
      result.error = {
        name: e?.constructor?.name ?? '', message: String(e?.message ?? e), status: e?.status ?? e?.statusCode ?? 0,
        code: e?.code ?? e?.data?.error?.code ?? '', param: e?.param ?? e?.data?.error?.param ?? '', type: e?.type ?? e?.data?.error?.type ?? '',
      };
    }
    process.stdout.write(JSON.stringify(result) + '\n');
  }
}
