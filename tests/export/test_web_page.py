"""The web page that an export writes: in a headless Chromium, with onnxruntime-web."""

from __future__ import annotations

import hashlib
import json
import shutil
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import chromium, told_by_page
from deployed import deploy, examples

from bdistil.errors import MissingDependencyError
from bdistil.export import web_export
from bdistil.export.ensemble import Ensemble
from bdistil.export.onnx_export import export_onnx
from bdistil.export.web_export import RUNTIME_FILES, export_web, find_runtime
from bdistil.runtime.columns import FeatureColumn, TableColumns
from bdistil.runtime.predictor import Predictor
from bdistil.runtime.series import SeriesRule

POST = """
    const post = (told) => fetch("/", { method: "POST", body: JSON.stringify(told) });
    addEventListener("error", (event) => post({ error: event.message }));
    addEventListener("unhandledrejection", (event) => post({ error: String(event.reason) }));
"""
USE_PAGE = """
    const frame = document.body.appendChild(document.createElement("iframe"));
    frame.src = "index.html";
    const wait = (time) => new Promise((done) => setTimeout(done, time));
    const settled = async (page) => {
        for (let last = ""; ; await wait(100)) {
            const now = page().getElementById("said")?.textContent ?? "";
            if (now && now === last && now !== "Loading ...") return now;
            last = now;
        }
    };
    const page = () => frame.contentDocument;
    const rows = () => [...page().querySelectorAll("tr")].map((row) =>
        [...row.cells].map((cell) => cell.textContent));
"""


def needs_browser_and_runtime() -> Path:
    chromium()
    try:
        return find_runtime()
    except MissingDependencyError as error:
        pytest.skip(str(error))


def published(folder: Path, ensemble: Ensemble, x: np.ndarray, runtime: Path) -> Path:
    export_onnx(ensemble, folder / "onnx", x)
    export_web(folder, folder / "onnx", folder / "web", x, runtime)
    return folder / "web"


def look(web: Path, script: str, profile: Path) -> Any:
    page = f'<!doctype html><body><script type="module">{POST}{script}</script></body>'
    (web / "look.html").write_text(textwrap.dedent(page))
    found = told_by_page(web, "look.html", profile)
    assert not isinstance(found, dict) or "error" not in found, found
    return found


OTHERS = ("mlp", "fcn", "gru")


@pytest.fixture(
    scope="module",
    params=["cnn", *(pytest.param(kind, marks=pytest.mark.nightly) for kind in OTHERS)],
)
def saved(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A saved ensemble with its page, and the examples that it was exported with."""
    runtime, kind = needs_browser_and_runtime(), request.param
    folder = tmp_path_factory.mktemp(kind)
    ensemble = deploy(folder, (kind, 3, "none", True), (kind, 2, "dense", True))
    x = examples(kind, 50)
    published(folder, ensemble, x, runtime)
    return folder, x


@pytest.mark.browser
def test_a_browser_answers_as_torch_at_every_stage(
    saved: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    folder, x = saved
    web, ensemble = folder / "web", Ensemble.from_pretrained(folder)
    (web / "x.json").write_text(json.dumps(x.ravel().tolist()))
    script = """
        import { Ensemble } from "./stages.js";
        const ensemble = await Ensemble.open();
        const x = Float32Array.from(await (await fetch("x.json")).json());
        const found = [];
        for await (const { logits, answers } of ensemble.stages(x))
            found.push({ logits: [...logits], answers });
        await post(found);
    """
    found = look(web, script, tmp_path / "profile")
    with torch.no_grad():
        expected = [logits.numpy() for logits in ensemble.stages(torch.as_tensor(x))]
    assert len(found) == len(expected) == 2
    for stage, logits, answer in zip(found, expected, Predictor(folder).stages(x), strict=True):
        np.testing.assert_allclose(
            np.reshape(stage["logits"], logits.shape), logits, rtol=1e-5, atol=1e-5
        )
        surest = [row[0] for row in stage["answers"]]
        assert [each["name"] for each in surest] == answer.values.tolist()
        assert answer.probabilities is not None
        np.testing.assert_allclose(
            [each["probability"] for each in surest], answer.probabilities.max(axis=1), atol=1e-5
        )


@pytest.mark.browser
@pytest.mark.parametrize("saved", ["cnn"], indirect=True)
def test_a_drawing_is_answered_within_the_time_of_the_slider(
    saved: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    folder, x = saved
    script = f"""{USE_PAGE}
        const before = await settled(page), blank = rows();
        const canvas = page().querySelector("canvas"), box = canvas.getBoundingClientRect();
        const place = {{ clientX: box.left + box.width / 2, clientY: box.top + box.height / 2 }};
        canvas.dispatchEvent(new PointerEvent("pointerdown", {{ ...place, buttons: 1 }}));
        await wait(300);
        const drawn = rows(), slider = page().getElementById("time");
        slider.value = 0;
        slider.dispatchEvent(new Event("input"));
        await wait(300);
        await post({{ before, blank, drawn, late: rows() }});
    """
    found = look(folder / "web", script, tmp_path / "profile")
    assert found["before"].startswith("2 of 2 stages within ")
    blank = np.full((1, *x.shape[1:]), x.min(), np.float32)
    for row, answer in zip(found["blank"], Predictor(folder).stages(blank), strict=True):
        assert answer.probabilities is not None
        assert row[0] == str(answer.stages[0])
        assert row[1].split(", ")[0] == (
            f"{answer.values[0]} {100 * answer.probabilities.max():.1f}%"
        )
    assert len(found["drawn"]) == 2
    assert found["drawn"] != found["blank"]
    assert found["late"] == found["drawn"][:1]


@pytest.mark.browser
def test_a_form_encodes_columns_as_training_did(tmp_path: Path) -> None:
    runtime = needs_browser_and_runtime()
    columns = TableColumns(
        (
            FeatureColumn("height", missing=2, fill=(1.5,)),
            FeatureColumn("colour", ("blue", "red")),
            FeatureColumn("day", parts=("weekday",)),
        ),
        "y",
    )
    plain = deploy(tmp_path, ("mlp", 2, "none", True))
    config = replace(plain.config, columns=columns)
    ensemble = Ensemble(config, list(plain), plain.shift, plain.scale)
    ensemble.save_pretrained(tmp_path)
    web = published(tmp_path, ensemble, examples("mlp", 20), runtime)
    script = f"""{USE_PAGE}
        await settled(page);
        const [height, colour, day] = page().querySelectorAll("#ask input, #ask select");
        const told = [];
        const asked = [["2.5", "red", "2026-11-28T10:00"], ["", "", "2024-02-29T23:59"]];
        for (const [h, c, d] of asked) {{
            [height.value, colour.value, day.value] = [h, c, d];
            day.dispatchEvent(new Event("input", {{ bubbles: true }}));
            await wait(300);
            told.push({{ said: page().getElementById("said").textContent, rows: rows() }});
        }}
        await post(told);
    """
    asked, refused = look(web, script, tmp_path / "profile")
    table = {"height": [2.5], "colour": ["red"], "day": ["2026-11-28T10:00"]}
    for row, answer in zip(asked["rows"], Predictor(tmp_path).stages(table), strict=True):
        assert answer.probabilities is not None
        assert row[1].split(", ")[0] == (
            f"{answer.values[0]} {100 * answer.probabilities.max():.1f}%"
        )
    assert refused == {"said": "colour is empty, which training never saw.", "rows": []}


@pytest.mark.browser
@pytest.mark.parametrize(
    "columns",
    [
        TableColumns((FeatureColumn("embedding", size=3),), "y"),
        TableColumns((FeatureColumn("a"),), "y", SeriesRule(3, "who")),
    ],
)
def test_what_no_form_has_fields_for_is_asked_as_numbers(
    tmp_path: Path, columns: TableColumns
) -> None:
    runtime = needs_browser_and_runtime()
    plain = deploy(tmp_path, ("mlp", 2, "none", True))
    ensemble = Ensemble(
        replace(plain.config, columns=columns), list(plain), plain.shift, plain.scale
    )
    ensemble.save_pretrained(tmp_path)
    x = examples("mlp", 20)
    web = published(tmp_path, ensemble, x, runtime)
    script = f"""{USE_PAGE}
        await settled(page);
        const area = page().querySelector("#ask textarea");
        area.value = "{" ".join(map(str, x[0].ravel().tolist()))}";
        area.dispatchEvent(new Event("input", {{ bubbles: true }}));
        await wait(300);
        await post(rows());
    """
    for row, answer in zip(
        look(web, script, tmp_path / "profile"), Predictor(tmp_path).stages(x[:1]), strict=True
    ):
        assert row[1].startswith(f"{answer.values[0]} ")


@pytest.mark.browser
@pytest.mark.parametrize("saved", ["cnn"], indirect=True)
@pytest.mark.parametrize("name", ["stage_2.onnx", "config.json"])
def test_a_damaged_file_is_refused_in_a_sentence_on_the_page(
    saved: tuple[Path, np.ndarray], tmp_path: Path, name: str
) -> None:
    web = Path(shutil.copytree(saved[0] / "web", tmp_path / "web"))
    content = bytearray((web / name).read_bytes())
    content[len(content) // 2] ^= 1
    (web / name).write_bytes(content)
    script = f"""{USE_PAGE}
        const said = await settled(page);
        await post({{ said, rows: rows() }});
    """
    assert look(web, script, tmp_path / "profile") == {
        "said": f"The page does not work: {name} is damaged or another file; export the ensemble "
        "again.",
        "rows": [],
    }


@pytest.mark.browser
def test_hashes_are_those_of_python(tmp_path: Path) -> None:
    """Of all lengths around the ends of blocks, by the browser alone."""
    lengths = (0, 1, 3, 55, 56, 63, 64, 65, 119, 120, 1000)
    shutil.copy(Path(web_export.__file__).parent / "web" / "sha256.js", tmp_path)
    script = f"""
        import {{ sha256 }} from "./sha256.js";
        const of = (length) => sha256(Uint8Array.from({{ length }}, (_, i) => (7 * i) % 256));
        await post({list(lengths)}.map(of));
    """
    expected = [
        hashlib.sha256(bytes(7 * i % 256 for i in range(length))).hexdigest() for length in lengths
    ]
    assert look(tmp_path, script, tmp_path / "profile") == expected


def test_the_runtime_is_looked_for_where_npm_installs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dist, inner = tmp_path / "node_modules/onnxruntime-web/dist", tmp_path / "a/b"
    for folder in (dist, inner):
        folder.mkdir(parents=True)
    monkeypatch.chdir(inner)
    with pytest.raises(MissingDependencyError, match="npm install onnxruntime-web"):
        find_runtime()
    for name in RUNTIME_FILES:
        (dist / name).touch()
    assert find_runtime() == find_runtime(dist) == find_runtime(dist.parent) == dist
    with pytest.raises(MissingDependencyError, match="a/b does not hold it"):
        find_runtime(inner)
