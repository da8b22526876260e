"""Make the contract model's image projector: Gemma 4's kind, with one small layer of seeded random weights.

It lets a real llama-server take images: they are decoded, scaled, cut into patches and read as tokens as they are for
the real model. What the model makes of them means nothing.

    PYTHONPATH=tests python -m contract.model.make_projector    # with PyPI's `gguf`
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import gguf  # type: ignore[import-not-found, unused-ignore]
import numpy as np  # type: ignore[import-not-found, unused-ignore]

from contract.model import shape

OUT: Final = Path(__file__).with_name("projector.gguf")
SEED: Final = 4
WIDTH: Final = 16
FEED_FORWARD: Final = 32
PATCH: Final = 16  # pixels; 3 x 3 patches make one token
POSITIONS: Final = 3400  # more patches than an image of 1,120 tokens can have on one side


def weights() -> dict[str, Any]:
    """Return all tensors by name, in rows of ggml's innermost dimension."""
    random = np.random.default_rng(SEED)

    def noise(*dimensions: int) -> Any:
        return (random.standard_normal(dimensions) / np.sqrt(dimensions[-1])).astype(np.float16)

    ones = np.ones(WIDTH, np.float32)
    block = {
        **{f"attn_{name}": noise(WIDTH, WIDTH) for name in ("q", "k", "v", "out")},
        **{f"ffn_{name}": noise(FEED_FORWARD, WIDTH) for name in ("gate", "up")},
        "ffn_down": noise(WIDTH, FEED_FORWARD),
        **dict.fromkeys(("ln1", "ln2", "attn_post_norm", "ffn_post_norm"), ones),
        **{f"attn_{name}_norm": ones for name in ("q", "k")},
    }
    return {
        "v.patch_embd.weight": noise(WIDTH, 3, PATCH, PATCH),
        "v.position_embd.weight": noise(2, POSITIONS, WIDTH),
        **{f"v.blk.0.{name}.weight": weight for name, weight in block.items()},
        "mm.input_projection.weight": noise(shape.WIDTH, WIDTH),
    }


def main() -> None:
    writer = gguf.GGUFWriter(OUT, "clip")
    writer.add_name("warmgate contract model's projector")
    writer.add_license("Apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "gemma4v")
    writer.add_bool("clip.use_gelu", True)
    for name, value in {
        "image_size": 224,
        "patch_size": PATCH,
        "embedding_length": WIDTH,
        "feed_forward_length": FEED_FORWARD,
        "block_count": 1,
        "projection_dim": shape.WIDTH,
        "attention.head_count": 1,
    }.items():
        writer.add_uint32(f"clip.vision.{name}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    writer.add_array("clip.vision.image_mean", [0.0] * 3)
    writer.add_array("clip.vision.image_std", [1.0] * 3)
    for name, weight in weights().items():
        writer.add_tensor(name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
