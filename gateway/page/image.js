// A picture from the person's disk or camera as a data URL that the gateway takes.

const TAKEN = ["image/png", "image/jpeg", "image/gif", "image/bmp"];
const MOST_BYTES = 4 << 20;
const LONGEST_SIDE = 2048;

/**
 * Return a file as a data URL. What the model does not read, or what is needlessly large, is drawn again as a JPEG.
 * @param {File} file
 * @throws {Error} It is no picture that this browser can read.
 */
export async function dataUrl(file) {
  return read(TAKEN.includes(file.type) && file.size <= MOST_BYTES ? file : await redrawn(file));
}

async function redrawn(file) {
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    throw new Error(`${file.name} is no picture that this browser can read.`);
  }
  const scale = Math.min(1, LONGEST_SIDE / Math.max(picture.width, picture.height));
  const canvas = new OffscreenCanvas(Math.round(picture.width * scale), Math.round(picture.height * scale));
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.9 });
}

function read(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}
