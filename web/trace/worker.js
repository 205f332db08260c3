'use strict';

/** Every buffer below `value`, so that the columns move to the page without a copy. */
function buffersOf(value, found = new Set()) {
  if (ArrayBuffer.isView(value)) found.add(value.buffer);
  else if (value && typeof value === 'object') Object.values(value).forEach(v => buffersOf(v, found));
  return found;
}

self.onmessage = async ({data}) => {
  try {
    const progress = done => self.postMessage({progress: done});
    const result = await decodePayload(data.blocks, data.bytes, data.sms, progress);
    self.postMessage({result}, [...buffersOf(result)]);
  } catch (error) {
    self.postMessage({error: String(error)});
  }
};
