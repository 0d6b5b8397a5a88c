"""The verb train, on a tiny model and a dataset of a few photos: what the run folder holds and what it refuses."""

from __future__ import annotations

import json
import shutil
from decimal import Decimal
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers.utils import is_flash_attn_2_available

import seeworth.train.examples as examples_module
from seeworth.data.dataset import Dataset, Row, store_photo, write_dataset
from seeworth.encode import Encoder, photos_of
from seeworth.errors import DataError, ModelError, PhotoError, RunError, SeeworthError, SettingsError
from seeworth.phi3v.tiny import make_tiny
from seeworth.predict.run import run as predict
from seeworth.predict.vlm import load_run
from seeworth.record import read_predictions
from seeworth.settings import PredictSettings, TrainSettings
from seeworth.task import Field, Task
from seeworth.train.examples import Examples, Place
from seeworth.train.fitting import smaller_passes
from seeworth.train.folder import Claim
from seeworth.train.order import Order
from seeworth.train.run import run as train

COLOURS = {"Red": (220, 30, 30), "Green": (30, 180, 60), "Blue": (40, 60, 220), "White": (240, 240, 240)}
CATEGORY = Field("category3_code", "category", choices=tuple(sorted(COLOURS)))
TASK = Task(fields=(Field("title"), CATEGORY, Field("full_price", "number", "USD")))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plain colours: each colour its own category and price, so a model that sees learns it at once."""
    folder = tmp_path_factory.mktemp("data") / "set"
    folder.mkdir()
    rows = []
    for number in range(48):
        colour = list(COLOURS)[number % 4]
        path = folder.parent / "photo.png"
        Image.new("RGB", (40 + number, 60), COLOURS[colour]).save(path)
        name, sha256 = store_photo(folder, path.read_bytes(), "png")
        split = "train" if number < 32 else "validation" if number < 40 else "test"
        values = {"title": f"{colour} Sheet", "category3_code": colour, "full_price": Decimal(100 * (number % 4 + 1))}
        rows.append(Row(f"r{number:02}", name, f"g{number}", split, 40 + number, 60, sha256, "0" * 16, values))  # type: ignore[arg-type]
    write_dataset(folder, TASK, rows, source={"kind": "test"})
    return folder


def settings(data: Path, out: Path, **more: object) -> TrainSettings:
    plain = {"model": "tiny", "max_steps": 30, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1,
             "learning_rate": 2e-3, "evals_per_run": 2, "eval_records": 4, "report_to": "none"}  # fmt: skip
    return TrainSettings(data=data, output_dir=out, **(plain | more))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def run_folder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "tiny"
    train(settings(data, out, optim="muon"))
    return out


def test_the_run_folder_holds_what_the_contract_says(run_folder: Path, data: Path) -> None:
    names = {path.name for path in run_folder.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "preprocessor_config.json", "settings.yaml", "task.yaml",
            "log.jsonl", "README.md", "run.json"} <= names  # fmt: skip
    about = json.loads((run_folder / "run.json").read_text())
    assert about["data_fingerprint"] == Dataset.open(data).fingerprint
    assert about["steps"] == 30
    assert Task.load(run_folder / "task.yaml") == TASK
    events = [json.loads(line) for line in (run_folder / "log.jsonl").read_text().splitlines()]
    losses = [event["train/loss"] for event in events if "train/loss" in event]
    assert losses[-1] < losses[0] / 2
    assert [event["step"] for event in events if "eval/loss" in event] == [15, 30]
    assert sum("eval/answers" in event for event in events) == 2
    assert sum("final/answers" in event for event in events) == 1
    assert any(event.get("final/parse_rate") == 1.0 for event in events)


def test_the_best_checkpoint_is_what_the_run_folder_holds(run_folder: Path) -> None:
    about = json.loads((run_folder / "run.json").read_text())
    best = load_file(run_folder / about["best_checkpoint"] / "weights.safetensors")
    final = load_file(run_folder / "model.safetensors")
    assert len(best) == 96
    assert all(torch.equal(best[name], final[name]) for name in best)


def test_what_was_trained_is_what_predict_loads(run_folder: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "predictions.jsonl"
    predict(PredictSettings(model=str(run_folder), input=data, output=output, batch_size=3))
    answers = {one.record_id: one.text for one in read_predictions(output)}
    records = Dataset.open(data).records("test")
    assert list(answers) == [record.id for record in records]
    one_by_one = load_run(run_folder, batch_size=1)
    assert [one.text for one in one_by_one(records)] == list(answers.values())
    with pytest.raises(SettingsError, match="is there already"):
        predict(PredictSettings(model=str(run_folder), input=data, output=output))


def test_predict_answers_a_folder_of_photos_and_tells_the_broken_ones(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (50, 50), COLOURS["Red"]).save(photos / "good.png")
    (photos / "broken.jpg").write_bytes(b"no photo")
    predict(PredictSettings(model=str(run_folder), input=photos, output=tmp_path / "out.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["record_id"] for line in lines] == ["broken.jpg", "good.png"]
    assert lines[0]["error"]["code"] == "not_a_photo"
    assert lines[1]["photo"].endswith("good.png")
    assert [one.record_id for one in read_predictions(tmp_path / "out.jsonl")] == ["good.png"]
    assert "broken.jpg" in capsys.readouterr().err


def test_lora_trains_saves_and_loads_on_a_pretrained_folder(data: Path, tmp_path: Path) -> None:
    records = Dataset.open(data).records("train")
    base, processor = make_tiny([TASK.write(record.values) for record in records] + [TASK.prompt()], num_crops=4)
    base.save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")
    out = tmp_path / "run"
    train(settings(data, out, model=str(tmp_path / "base"), max_steps=3, lora_rank=4, num_crops=2))
    assert {"adapter_model.safetensors", "adapter_config.json", "run.json"} <= {path.name for path in out.iterdir()}
    assert not (out / "model.safetensors").exists()
    assert (out / "adapter_model.safetensors").stat().st_mode == (out / "README.md").stat().st_mode  # whoever reads one reads the other
    names = load_file(out / "adapter_model.safetensors")
    for part in ("self_attn.qkv_proj", "img_projection.0", "vision_model.encoder.layers.0.self_attn.q_proj"):
        assert any(part in name for name in names), part
    model = load_run(out)
    assert model.encoder.processor.image_processor.num_crops == 2
    changed = [name for name, weight in names.items() if "lora_B" in name and weight.abs().max() > 0]
    assert len(changed) == sum("lora_B" in name for name in names)
    record = Dataset.open(data).records("test")[0]
    with torch.inference_mode(), model.model.disable_adapter():
        assert isinstance(model.answer([record])[0], str)


def test_what_cannot_be_is_refused_in_one_line(
    data: Path, run_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SettingsError, match=r"trained with other settings \(optim muon -> adamw\)"):
        train(settings(data, run_folder))
    with pytest.raises(SettingsError, match="tiny model starts from random weights"):
        train(settings(data, tmp_path / "a", method="lora"))
    with pytest.raises(DataError, match="expected a dataset folder"):
        train(settings(tmp_path, tmp_path / "b"))
    (tmp_path / "llava").mkdir()
    (tmp_path / "llava" / "config.json").write_text('{"model_type": "llava"}')
    capfd.readouterr()
    with pytest.raises(ModelError, match="'llava', expected 'phi3_v'"):
        train(settings(data, tmp_path / "c", model=str(tmp_path / "llava")))
    assert not capfd.readouterr().err  # the library has words of its own for it
    with pytest.raises(RunError, match=r"no finished run \(run.json is not there\)"):
        load_run(tmp_path)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(SettingsError, match="no run folder, so --overwrite does not delete it"):
        train(settings(data, precious, overwrite=True))
    assert (precious / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        ({"model": "/no/such/folder"}, "there is no such folder"),
        ({"lr_scheduler_type": "cosin"}, "lr_scheduler_type"),
        ({"report_to": "mlflow"}, "mlflow"),
        ({"vision_cache": True}, "vision_cache is true, but"),
        ({"overfit_steps": 1}, "would not train well: overfit"),
        ({"attn_implementation": "flash_attention_2"}, "attn_implementation flash_attention_2: "),
    ],
    ids=str,
)
def test_a_mistake_beside_overwrite_costs_nothing(
    data: Path, run_folder: Path, tmp_path: Path, mistake: dict[str, object], told: str
) -> None:
    if "attn_implementation" in mistake and is_flash_attn_2_available():
        pytest.skip("flash attention is installed: it is no mistake")
    mine = shutil.copytree(run_folder, tmp_path / "run")
    before = {path.name: path.stat().st_mtime_ns for path in mine.iterdir()}
    with pytest.raises(SeeworthError, match=told):
        train(settings(data, mine, overwrite=True, **mistake))
    assert {path.name: path.stat().st_mtime_ns for path in mine.iterdir()} == before


def test_overwrite_trains_anew_and_says_what_it_means_for_going_on(
    data: Path, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = shutil.copytree(run_folder, tmp_path / "run")
    train(settings(data, mine, overwrite=True, max_steps=2))
    assert json.loads((mine / "run.json").read_text())["steps"] == 2
    assert {path.name for path in mine.glob("checkpoint-*")} == {"checkpoint-1", "checkpoint-2"}
    assert "with --overwrite every start is anew: leave it out to go on" in capsys.readouterr().out


def test_a_changed_photo_stops_the_training_and_no_features_of_it_are_kept(data: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(data, tmp_path / "set")
    changed = Dataset.open(copy).records("train")[20].photo
    before = changed.read_bytes()
    Image.new("RGB", (60, 60), (1, 2, 3)).save(changed)  # as large as it was
    one = settings(copy, tmp_path / "run", vision="frozen", max_steps=9)
    with pytest.raises(PhotoError, match=r"not those of the import: .*: put the photo back as it was \(.* the same command starts anew\)"):
        train(one)
    assert not any(changed.stem.encode() in path.read_bytes() for path in (tmp_path / "set-features").rglob("*") if path.is_file())
    changed.write_bytes(before)
    train(one)
    assert (tmp_path / "run" / "run.json").is_file()


def test_a_missing_photo_stops_the_training_before_it_starts(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "set"
    shutil.copytree(data, copy)
    next((copy / "photos").rglob("*.png")).unlink()
    with pytest.raises(DataError, match="photo"):
        train(settings(copy, tmp_path / "run"))
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize("augment", [0.0, 0.5])
def test_photos_that_fit_are_decoded_once_and_look_the_same(data: Path, monkeypatch: pytest.MonkeyPatch, augment: float) -> None:
    records = Dataset.open(data).records("train")[:4]
    _, processor = make_tiny(["Red Sheet"])
    kept, fresh = (Examples(records, Encoder(processor, TASK, augment), megabytes=megabytes) for megabytes in (1, 0))
    opened: list[Path] = []
    monkeypatch.setattr(examples_module, "photos_of", lambda record: opened.append(record.photo) or photos_of(record))
    for epoch in range(2):
        for index in range(4):
            one, other = kept[Place(index, epoch)], fresh[Place(index, epoch)]
            assert torch.equal(one.tiles[0], other.tiles[0])
            again = kept[Place(index, 1 - epoch)]
            assert torch.equal(one.tiles[0], again.tiles[0]) == (not augment)
    assert len(opened) == 4 + 8
    small = Examples(records, Encoder(processor, TASK), megabytes=3 * 40 * 60 / 2**20)  # room for the first, not for more
    for index in (0, 1, 0, 1):
        small[Place(index)]
    assert list(small.photos) == [0]


def test_a_loss_that_is_not_finite_ends_the_training_loudly(data: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"train/loss is nan at step \d+: lower learning_rate"):
        train(settings(data, tmp_path / "run", learning_rate=1e12, max_grad_norm=1e12, max_steps=20))


@pytest.mark.parametrize(("records", "batch", "accumulate", "epochs", "steps"), [(10, 4, 1, 2.0, 6), (10, 4, 2, 3.0, 6), (3, 4, 4, 1.0, 1)])
def test_steps_are_counted_before_the_training(records: int, batch: int, accumulate: int, epochs: float, steps: int) -> None:
    assert Order([7] * records, batch, accumulate).total(epochs) == steps


@pytest.mark.parametrize("size", [2, 3, 4, 9, 15, 64])
def test_where_memory_runs_out_passes_get_smaller_and_a_step_keeps_its_records(tmp_path: Path, size: int) -> None:
    now = settings(tmp_path, tmp_path / "out", auto_find_batch_size=True, per_device_train_batch_size=size, gradient_accumulation_steps=5)
    while (records := now.per_device_train_batch_size) > 1:
        now = smaller_passes(now, Claim(now.output_dir, None, False), torch.OutOfMemoryError("no room"), 70)
        assert now.per_device_train_batch_size < records
        assert now.per_device_train_batch_size * now.gradient_accumulation_steps == size * 5
    with pytest.raises(RunError, match="out of memory with 1 record in a forward pass"):
        smaller_passes(now, Claim(now.output_dir, None, False), torch.OutOfMemoryError("no room"), 70)


def test_a_token_budget_is_halved_down_to_the_longest_record(tmp_path: Path) -> None:
    """Below it passes would get no smaller, and a step would get more records with each try."""
    now = settings(tmp_path, tmp_path / "out", auto_find_batch_size=True, max_tokens_per_batch=1000, gradient_accumulation_steps=2)
    budgets = []
    for _ in range(3):
        now = smaller_passes(now, Claim(now.output_dir, None, False), torch.OutOfMemoryError("no room"), 240)
        budgets.append((now.max_tokens_per_batch, now.gradient_accumulation_steps))
        assert now.per_device_train_batch_size == 8
        if now.max_tokens_per_batch == 240:
            break
    assert budgets == [(500, 4), (250, 8), (240, 8)]
    with pytest.raises(RunError, match="out of memory with 240 tokens in a forward pass"):
        smaller_passes(now, Claim(now.output_dir, None, False), torch.OutOfMemoryError("no room"), 240)
