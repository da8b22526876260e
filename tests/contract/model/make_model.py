"""Make the contract model: train it, and write it as GGUF. README.md says what it is, and how this is run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import gguf  # type: ignore[import-not-found, unused-ignore]

from contract.model import shape
from contract.model.scenes_text import corpus
from contract.model.tokenizer import BOS, EOS, FIRST_LEARNT, PAD, UNK, Tokenizer, learn

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE: Final = Path(__file__).parent
PIECES: Final = 2700  # learnt pieces in the vocabulary
CONTEXT: Final = 131_072  # tokens; the window is the same everywhere, so nothing ends there


def read(file: Path) -> tuple[list[str], dict[str, Any]]:
    """Return the learnt pieces and the weights of a model that was written before."""
    reader = gguf.GGUFReader(file)
    weights = {
        tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype("float32")
        for tensor in reader.tensors
    }
    return list(reader.get_field("tokenizer.ggml.tokens").contents()[FIRST_LEARNT:]), weights


def write(pieces: Sequence[str], weights: dict[str, Any], template: str, out: Path) -> None:
    """Write the model as GGUF, in Q8_0."""
    writer = gguf.GGUFWriter(out, "gemma3")
    writer.add_name("warmgate contract model")
    writer.add_license("Apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    _add_shape(writer)
    _add_tokenizer(writer, Tokenizer(pieces))
    writer.add_chat_template(template)
    for name, weight in weights.items():
        if weight.ndim == 1:
            writer.add_tensor(name, weight)
        else:
            quantized = gguf.quants.quantize(weight, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, quantized, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: Any) -> None:
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(shape.WIDTH)
    writer.add_block_count(shape.LAYERS)
    writer.add_feed_forward_length(shape.FEED_FORWARD)
    writer.add_head_count(shape.HEADS)
    writer.add_head_count_kv(shape.KV_HEADS)
    writer.add_key_length(shape.HEAD)
    writer.add_value_length(shape.HEAD)
    writer.add_layer_norm_rms_eps(shape.EPSILON)
    writer.add_rope_freq_base(shape.ROPE_BASE)
    writer.add_float32("gemma3.rope.freq_base_swa", shape.ROPE_BASE)
    writer.add_sliding_window(shape.WINDOW)
    writer.add_sliding_window_pattern([True] * shape.LAYERS)


def _add_tokenizer(writer: Any, tokenizer: Tokenizer) -> None:
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokenizer.tokens)
    writer.add_token_scores(tokenizer.scores)
    writer.add_token_types(tokenizer.types)
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_unk_token_id(UNK)
    writer.add_pad_token_id(PAD)
    writer.add_eot_token_id(tokenizer.tokens.index("<turn|>"))
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("template", type=Path, help="models/templates/google-gemma-4-31B-it.jinja in llama.cpp's tree")
    parser.add_argument("--out", type=Path, default=HERE / "contract.gguf")
    parser.add_argument("--start", type=Path, help="a GGUF of before, to go on from")
    parser.add_argument("--minutes", type=float, default=0, help="how long to train; 0 writes what --start has")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="the highest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--favour", nargs="*", default=(), help="scenes to show more often")
    args = parser.parse_args()

    pieces, weights = read(args.start) if args.start else (learn(corpus(), PIECES), None)
    if args.minutes:
        from contract.model.network import train  # noqa: PLC0415 -- PyTorch is not needed to write a file

        weights = train(pieces, args.minutes, args.rate, args.seed, weights, args.favour)
    if weights is None:
        parser.error("there is nothing to write without --start or --minutes")
    write(pieces, weights, args.template.read_text(), args.out)


if __name__ == "__main__":
    main()
