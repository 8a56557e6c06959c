"""A plain model card, for weights that are published and have none of their own."""

import json
from typing import Any

from textok.models.config_json import encode_config

CARD_FILE = "README.md"
SAMPLES_FILE = "samples.png"
"""Pictures that a card shows."""

_CARD = """# {title}

`{model_id}`, a {name} of open-textok with {parameters:,} parameters.

```python
from {module} import {name}

model = {name}.from_pretrained({repo!r})
```

This card was written by a program. It does not tell what the weights are good for, nor where they fail.

## Settings

```json
{settings}
```

## What made it

```json
{made_by}
```
"""


def model_card(repo: str, *, model_id: str, model: Any) -> str:
    """What is known of published weights, as a README.md.

    Args:
        repo: where they are published, such as ``someone/icons``.
    """
    return _CARD.format(
        title=repo.split("/")[-1],
        repo=repo,
        model_id=model_id,
        module=type(model).__module__,
        name=type(model).__name__,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        settings=json.dumps(encode_config(model.config), indent=2),
        made_by=json.dumps(getattr(model, "made_by", {}), indent=2),
    )


def with_header(card: str, model: Any, *, has_samples: bool = False) -> str:
    """A card with the header that the Hugging Face hub reads; one that has a header stays as it is."""
    if card.startswith("---\n"):
        return card
    # JSON is YAML, too.
    lines = [f"{key}: {json.dumps(value)}" for key, value in _header(model, has_samples=has_samples).items()]
    return "\n".join(["---", *lines, "---", "", card])


def _header(model: Any, *, has_samples: bool) -> dict[str, Any]:
    made_by, condition = getattr(model, "made_by", {}), getattr(model.config, "condition", None)
    header: dict[str, Any] = {
        "library_name": "open-textok",
        "tags": ["image-tokenization", "text-conditioned"],
    }
    header["pipeline_tag"] = "image-to-image"
    if condition is not None:
        header["pipeline_tag"] = (
            "text-to-image" if condition.kind == "text" else "unconditional-image-generation"
        )
    if "licence" in made_by:
        header["license"] = str(made_by["licence"]).lower()  # the hub knows licences by lower-case names
    if data := str(made_by.get("data", "")).partition(",")[0].rstrip("/"):
        header["datasets"] = [data.rpartition("/")[2]]
    header["metrics"] = ["psnr"] if condition is None else ["frechet_distance"]
    if header["pipeline_tag"] == "text-to-image":
        example: dict[str, Any] = {"text": "a glossy 3D emoji of a red apple; food, fruit"}
        header["widget"] = [example | ({"output": {"url": SAMPLES_FILE}} if has_samples else {})]
    return header
