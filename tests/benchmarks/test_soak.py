"""The soak over real files: it counts them all, and says whether each had the same text every time."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.soak import main
from tests.channelscribe.asr.models import SHIPPED
from tests.channelscribe.audio.sounds import write_wav
from tests.emulators.speech import Score, compose


def test_real_files_over_and_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (1, 2):
        write_wav(tmp_path / f"{seed}.wav", compose(Score(seed, 5.0)).pcm)
    assert main(["--files", "24", "--sound", str(tmp_path), "--model", str(SHIPPED)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("24 files in ") and "MiB after file 20" in said


def test_sound_without_a_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--sound", str(tmp_path)])
    assert ended.value.code == 2
    assert "go together" in capsys.readouterr().err
