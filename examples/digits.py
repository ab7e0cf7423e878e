"""Search a small progressive ensemble for the digits, then use it stage by stage."""

import torch

import bdistil
from bdistil.datasets.bundled import digits


def main() -> None:
    result = bdistil.search(
        "search_spaces/digits.yaml",
        "runs/example",
        overrides=["search.rounds=4", "space.epochs=40"],
    )

    ensemble = bdistil.Ensemble.from_pretrained(result.directory)
    images = torch.as_tensor(digits(seed=0, validation=0.2, test=0.2).test.x)

    for stage, logits in enumerate(ensemble.stages(images[:1]), start=1):  # leave when you like
        print(f"after {stage} students: a {int(logits.argmax())}")

    print("all rows, two students:", ensemble.predict(images, stages=2)[:10])
    print("test accuracy by stage:", [round(s.metric, 3) for s in result.evaluation.stages])


if __name__ == "__main__":
    main()
